"""Sending log entries: a list in one request where the server takes it, else one by one.

Servers without lists cost a request an entry, so a backlog is joined into larger entries there;
one line a request cannot keep up with a chatty script.
"""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from keruta_agent.agent.api.capabilities import Capabilities
from keruta_agent.core import errors, wire
from keruta_agent.core.model import LogEntry, LogLevel
from keruta_agent.http.client import answers
from keruta_agent.http.client.http import HttpClient, segment

logger = logging.getLogger(__name__)

#: Names of what a server may lack, as they appear in the agent's log.
LOG_LISTS = "lists of log entries"
LOG_SOURCES = "source field in log entries"

#: Entries in one list. The embedded server takes 10,000, others may take less.
LISTED_AT_ONCE = 5000
#: With more entries than this waiting, neighbours are joined.
JOIN_ABOVE = 50  # entries
#: Longest message that the documentation of a server mentions.
JOINED_LIMIT = 8192  # characters

#: Answers to a list that mean "one entry at a time, please".
_LIST_REFUSED = frozenset({400, 415, 422, 500})


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Batch:
    """One or several neighbouring entries as one request."""

    first: int
    count: int
    entry: LogEntry


class LogWriter:
    """The sender of log entries, in the form that one server takes."""

    def __init__(self, http: HttpClient, capabilities: Capabilities) -> None:
        self._http = http
        self._capabilities = capabilities

    def send(self, task_id: str, entries: Sequence[LogEntry], *, key: str) -> int:
        """Store entries in order and return how many, from the first, are stored."""
        stored = 0
        while stored < len(entries):
            part = entries[stored : stored + LISTED_AT_ONCE]
            try:
                stored_now = self._send_part(task_id, part, f"{key}-{stored}" if stored else key)
            except errors.ApiError as exc:
                if not stored:
                    raise
                logger.debug("log entries stored up to %d: %s", stored, exc.message)
                return stored
            stored += stored_now
            if stored_now < len(part):
                return stored
        return stored

    def _send_part(self, task_id: str, entries: Sequence[LogEntry], key: str) -> int:
        if self._capabilities.lacks(LOG_LISTS):
            return self._send_singly(task_id, entries, key)
        try:
            stored = self._send_list(task_id, entries, key)
        except errors.ApiError as exc:
            if self._capabilities.has(LOG_LISTS) or exc.status not in _LIST_REFUSED:
                raise
            if exc.status == 500 and self._takes_lists(task_id):
                raise  # it was a moment's failure
            stored = self._send_singly(task_id, entries, key)
            # Learned only now: had the server been broken, the single entry had failed as well.
            self._capabilities.learn_missing(LOG_LISTS)
            return stored
        self._capabilities.learn_present(LOG_LISTS)
        return stored

    def _takes_lists(self, task_id: str) -> bool:
        """Ask with a list for a task that does not exist: a server that takes lists misses it.

        Raises:
            ApiError: the server is broken as a whole, so it stays unknown.
        """
        self._http.get(f"Reading task {task_id}", f"/api/v1/tasks/{segment(task_id)}")
        nobody = LogEntry(level=LogLevel.INFO, message="", source="agent")
        try:
            self._post(str(uuid.uuid4()), [_as_listed(nobody)], uuid.uuid4().hex)
        except errors.ApiNotFound:
            return True
        except errors.ApiError as exc:
            if exc.status not in _LIST_REFUSED:
                raise
        return False

    def _send_list(self, task_id: str, entries: Sequence[LogEntry], key: str) -> int:
        response = self._post(task_id, [_as_listed(entry) for entry in entries], key)
        body = answers.body_of(response)
        stored = body.get("stored") if isinstance(body, dict) else None
        if type(stored) is int and 0 <= stored <= len(entries):
            return stored
        return len(entries)

    def _send_singly(self, task_id: str, entries: Sequence[LogEntry], key: str) -> int:
        """Send one request's worth; the caller records it before more follows.

        A server that takes no lists knows no keys either; what was stored and not noted when the
        agent is killed would be stored again.
        """
        batch = next(_batches(entries))
        self._send_one(task_id, batch.entry, f"{key}-{batch.first}")
        return batch.count

    def _send_one(self, task_id: str, entry: LogEntry, key: str) -> None:
        plain = {"level": entry.level.value, "message": entry.message}
        if self._capabilities.lacks(LOG_SOURCES):
            self._post(task_id, plain, key)
            return
        try:
            self._post(task_id, _undotted(_as_single(entry)), key)
        except errors.ApiFailed as exc:
            if exc.status != 500 or self._capabilities.has(LOG_SOURCES):
                raise
            self._post(task_id, plain, f"{key}-plain")
            self._capabilities.learn_missing(LOG_SOURCES)
            return
        self._capabilities.learn_present(LOG_SOURCES)

    def _post(self, task_id: str, body: object, key: str) -> Any:
        return self._http.write(
            f"Sending the log of task {task_id}",
            "POST",
            f"/api/v1/tasks/{segment(task_id)}/logs",
            body,
            key=key,
        )


def _as_single(entry: LogEntry) -> dict[str, Any]:
    """Return only the fields that strict servers know; any other would make them answer 500."""
    body: dict[str, Any] = {
        "level": entry.level.value,
        "message": entry.message,
        "source": entry.source,
    }
    if entry.metadata:
        body["metadata"] = dict(entry.metadata)
    return body


def _undotted(value: Any) -> Any:
    """Return a JSON value with names that MongoDB stores: it takes no dots in them (and fails)."""
    if isinstance(value, dict):
        return {
            str(name).replace(".", "_").replace("$", "_"): _undotted(item)
            for name, item in value.items()
        }
    return [_undotted(item) for item in value] if isinstance(value, list) else value


def _as_listed(entry: LogEntry) -> dict[str, Any]:
    body = _as_single(entry)
    if entry.timestamp is not None:
        body["timestamp"] = wire.format_date(entry.timestamp)
    return body


def _batches(entries: Sequence[LogEntry]) -> Iterator[_Batch]:
    join = len(entries) > JOIN_ABOVE
    first = 0
    while first < len(entries):
        count = _joinable(entries, first) if join else 1
        entry = entries[first]
        if count > 1:
            message = "\n".join(part.message for part in entries[first : first + count])
            entry = dataclasses.replace(entry, message=message)
        yield _Batch(first=first, count=count, entry=entry)
        first += count


def _joinable(entries: Sequence[LogEntry], first: int) -> int:
    """Count the entries from ``first`` that make one message: same level, same source."""
    start = entries[first]
    length = len(start.message)
    end = first + 1
    while end < len(entries):
        entry = entries[end]
        length += 1 + len(entry.message)
        same = (entry.level, entry.source) == (start.level, start.source)
        if not same or length > JOINED_LIMIT or start.metadata or entry.metadata:
            break
        end += 1
    return end - first
