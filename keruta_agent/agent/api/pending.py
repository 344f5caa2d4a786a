"""The list of a session's PENDING tasks, read a task at a time.

It is read every few seconds, may hold a hundred thousand tasks with their scripts, and nearly all
of them are known. So it is never in memory as a whole but as text, other threads have their turn
after each task, and the schema reads only what is wanted whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import requests

from keruta_agent.agent.api import parsing
from keruta_agent.core import wire
from keruta_agent.core.model import Task, TaskStatus
from keruta_agent.core.pending import Brief, PendingTasks

#: Bytes of the largest list that is read: a hundred thousand tasks with scripts of 2 KB.
LARGEST_LIST: Final = 256 * 1024 * 1024
_DECODER: Final = json.JSONDecoder()
#: White space as JSON has it.
_WHITE: Final = re.compile(r"[ \t\n\r]*")
#: Texts of a task that become its job's, by the names of the model and of the wire.
_TEXTS: Final = (
    ("session_id", "sessionId"),
    ("parent_task_id", "parentTaskId"),
    ("name", "name"),
    ("description", "description"),
    ("script", "script"),
)
_PENDING: Final = TaskStatus.PENDING.value


class _Source(NamedTuple):
    """Where a task of a list is: in the text of its page, or read already."""

    text: str | None
    place: slice | None
    element: Any = None

    def read(self) -> Any:
        """Return the task as a JSON value."""
        if self.text is None or self.place is None:
            return self.element
        return json.loads(self.text[self.place])


def pending_of(pages: Iterable[requests.Response], action: str) -> PendingTasks:
    """Return the PENDING tasks of a list's pages, without those that cannot be read.

    Raises:
        ApiFailed: a page is no list.
    """
    # By id: a task may move to a later page while they are read.
    found = {brief.id: brief for page in pages for brief in _briefs_of(page, action)}
    return PendingTasks(
        list(found.values()),
        read=lambda source: _task_of(source.read()),
        created_at=lambda source: _created_at(source.read()),
    )


def _briefs_of(page: requests.Response, action: str) -> list[Brief]:
    try:
        text = page.content.decode()
        return _briefs((each, _Source(text, place)) for each, place in _elements(text))
    except (ValueError, RecursionError):  # in an envelope, another encoding, or no JSON at all
        elements = parsing.list_of(page, action)
        return _briefs((each, _Source(None, None, each)) for each in elements)


def _elements(text: str) -> Iterator[tuple[Any, slice]]:
    """Yield the elements of a JSON list, each with its place in the text.

    Raises:
        ValueError: the text is something else.
    """
    at = _expect("[", text, _after_white(text, 0))
    if text.startswith("]", at):
        at = _expect("]", text, at)
    else:
        while True:
            element, end = _DECODER.raw_decode(text, at)
            yield element, slice(at, end)
            at = _after_white(text, end)
            if not text.startswith(",", at):
                break
            at = _expect(",", text, at)
        at = _expect("]", text, at)
    if at != len(text):
        raise ValueError("something follows the list")


def _expect(mark: str, text: str, at: int) -> int:
    """Return the place behind a mark, and behind the white space that follows it."""
    if not text.startswith(mark, at):
        raise ValueError(f"no {mark} at {at}")
    return _after_white(text, at + 1)


def _after_white(text: str, at: int) -> int:
    found = _WHITE.match(text, at)
    return at if found is None else found.end()


def _briefs(elements: Iterable[tuple[Any, Any]]) -> list[Brief]:
    """Return what PENDING tasks are in brief; the schema reads those of an unusual form."""
    briefs = []
    for element, source in elements:
        brief = _brief_of(element, source)
        if brief is None:
            task = parsing.task_in_list(element)
            if task is None or task.status is not TaskStatus.PENDING:
                continue  # some of the routes ignore the filter
            brief = Brief(task.id, task.priority, task.claimed_by, source)
        briefs.append(brief)
    return briefs


def _brief_of(element: Any, source: Any) -> Brief | None:
    """Return a PENDING task in brief if it is written as servers usually write it."""
    if type(element) is not dict or element.get("status") != _PENDING:
        return None
    task_id, priority = element.get("id"), element.get("priority")
    claimed_by = element.get("claimedBy")
    if type(task_id) is not str or not task_id.isascii():
        return None
    if priority is not None and type(priority) is not int:
        return None
    if claimed_by is not None and (type(claimed_by) is not str or not claimed_by.isascii()):
        return None
    return Brief(task_id, priority or 0, claimed_by, source)


def _task_of(element: Any) -> Task | None:
    """Return the task of an element; the schema, ten times as slow, reads one of unusual form."""
    values = {own: element.get(wires) for own, wires in _TEXTS if element.get(wires) is not None}
    brief, parameters = _brief_of(element, None), element.get("parameters")
    if brief is None or not values.get("name") or not all(map(_is_text, values.values())):
        return parsing.task_in_list(element)
    if parameters is not None and type(parameters) is not dict:
        return parsing.task_in_list(element)
    return Task(
        **values,
        id=brief.id,
        priority=brief.priority,
        claimed_by=brief.claimed_by,
        parameters=parameters or {},
        created_at=_created_at(element),
    )


def _is_text(value: Any) -> bool:
    """Return whether a value is text without half a character."""
    if type(value) is not str:
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _created_at(element: Any) -> datetime | None:
    return wire.parse_date(element.get("createdAt"))
