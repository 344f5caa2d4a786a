"""Tasks as they are shown on a board: in the order of execution, by what becomes of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Final

import peewee

from keruta_agent.core.model import TaskStatus
from keruta_agent.http.pages.visible import visible
from keruta_agent.server.store.store import Store
from keruta_agent.server.store.task_rows import date

#: Ended tasks on a board; a session may have thousands.
MOST_ENDED: Final = 100
#: Log lines on a card.
TAIL: Final = 5

_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")

#: Where a task of each state stands.
GROUPS: Final = {
    TaskStatus.PROCESSING: "running",
    TaskStatus.WAITING_FOR_INPUT: "running",
    TaskStatus.PENDING: "waiting",
    TaskStatus.RETRYING: "waiting",
    TaskStatus.COMPLETED: "ended",
    TaskStatus.FAILED: "ended",
    TaskStatus.CANCELLED: "ended",
}
_ENDED: Final = [status.value for status, group in GROUPS.items() if group == "ended"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Board:
    """A session's tasks; each a dictionary with the fields of an event about it."""

    running: Sequence[dict[str, Any]]
    waiting: Sequence[dict[str, Any]]
    #: The newest first, not all of them.
    ended: Sequence[dict[str, Any]]
    ended_count: int


def read_board(store: Store, session_id: str) -> Board:
    """Return a session's board."""
    tasks = store.tables.tasks
    own = tasks.session_id == session_id
    rows = list(tasks.select().where(own, tasks.status.not_in(_ENDED)).dicts())
    ended = tasks.select().where(own, tasks.status.in_(_ENDED))
    newest = ended.order_by(tasks.updated_at.desc(), tasks.number.desc()).limit(MOST_ENDED)
    running = [row for row in rows if _group(row) == "running"]
    waiting = [row for row in rows if _group(row) == "waiting"]
    waiting.sort(key=lambda row: (-row["priority"], row["number"]))
    return Board(
        running=[card(row) | {"tail": _tail(store, row["number"])} for row in running],
        waiting=[card(row) for row in waiting],
        ended=[card(row) for row in newest.dicts()],
        ended_count=ended.count(),
    )


def card(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a card shows of a task."""
    return {
        "taskId": row["id"],
        "name": row["name"],
        "status": row["status"],
        "group": _group(row),
        "progress": row["progress"],
        "message": row["message"],
        "errorCode": row["error_code"],
        "priority": row["priority"],
        "createdAt": date(row["created_at"]),
        "startedAt": date(row["started_at"]),
        "endedAt": date(row["ended_at"]),
        "took": _took(row),
    }


def newest_event(store: Store) -> int:
    """Return the event up to which a page that is read now is right."""
    with store.database.connected():
        return store.changes.newest()


def counts(store: Store) -> dict[str, dict[str, int]]:
    """Return how many tasks each session has: running, waiting, ended, and failed of these."""
    tasks = store.tables.tasks
    number = tasks.select(
        tasks.session_id, tasks.status, peewee.fn.COUNT(tasks.number).alias("tasks")
    )
    found: dict[str, dict[str, int]] = {}
    for row in number.group_by(tasks.session_id, tasks.status).dicts():
        of_session = found.setdefault(row["session_id"], no_tasks())
        status = TaskStatus(row["status"])
        of_session[GROUPS[status]] += row["tasks"]
        if status is TaskStatus.FAILED:
            of_session["failed"] += row["tasks"]
    return found


def no_tasks() -> dict[str, int]:
    """Return the counts of a session without tasks."""
    return {"running": 0, "waiting": 0, "ended": 0, "failed": 0}


def _group(row: dict[str, Any]) -> str:
    return GROUPS[TaskStatus(row["status"])]


def _took(row: dict[str, Any]) -> str:
    """Return how long a task ran, for browsers without scripts; the others show it in words."""
    if row["started_at"] is None or row["ended_at"] is None:
        return ""
    return f"{(row['ended_at'] - row['started_at']) / 1e6:.1f} s"


def _tail(store: Store, task: int) -> str:
    entries = store.tables.log_entries
    newest = entries.select(entries.message).where(entries.task == task)
    rows = list(newest.order_by(entries.number.desc()).limit(TAIL).dicts())
    # Colours are shown on the task's page only.
    return visible(_SEQUENCE.sub("", "\n".join(row["message"] for row in reversed(rows))))
