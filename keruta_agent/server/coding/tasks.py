"""Coding tasks as rows: filed, found, listed, cancelled, tried again.

The rows are the truth. What a queue carries are numbers, which may get lost.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent.http.bodies import to_json
from keruta_agent.http.problems import conflict, missing
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.ranges import Range
from keruta_agent.server.store.statements import Row, select
from keruta_agent.server.store.store import Change
from keruta_agent.server.store.tables import Tables

SECOND: Final = 1_000_000
#: Attempts of a task that does not say how many it may have.
DEFAULT_ATTEMPTS: Final = 3
MOST_ATTEMPTS: Final = 100


class CodingState(enum.StrEnum):
    """How far a coding task is."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows by itself."""
        return self not in (CodingState.WAITING, CodingState.RUNNING)


_FIND: Final = select("coding_tasks", "id = ?")
_LOCK: Final = select("coding_tasks", "id = ?", locks=True)
_ATTEMPTS: Final = select("coding_attempts", "task = ? ORDER BY attempt")


def newest_first(state: str | None) -> Range:
    """Return all tasks, or those in a state, as a list."""
    prefix = {} if state is None else {"state": state}
    return Range(table="coding_tasks", prefix=prefix, texts=("context",))


def file(
    change: Change, context: Mapping[str, Any], *, name: str, priority: int, attempts: int
) -> Row:
    """File a coding task: it waits for a worker."""
    now = change.store.database.now()
    row = {
        "id": str(uuid.uuid4()),
        "name": name,
        "context": to_json(context),
        "priority": priority,
        "state": CodingState.WAITING.value,
        "attempt": 0,
        "attempts_left": attempts,
        "worker": None,
        "lease_until": None,
        "due_at": now,
        "announced_at": 0,
        "cancel_reason": None,
        "error": None,
        "created_at": now,
        "started_at": None,
        "ended_at": None,
    }
    return row | {"number": change.store.database.insert("coding_tasks", row)}


def find(tables: Tables, task_id: str) -> Row:
    """Return a task.

    Raises:
        Problem: there is none (404).
    """
    row = tables.database.one(_FIND, task_id)
    if row is None:
        raise missing("coding task", task_id)
    return row


def lock(change: Change, task_id: str) -> Row:
    """Return a task that nobody else changes until the write is through.

    Raises:
        Problem: there is none (404).
    """
    row = change.store.database.one(_LOCK, task_id)
    if row is None:
        raise missing("coding task", task_id)
    return row


def update(database: Database, row: Row, values: Mapping[str, Any]) -> Row:
    """Change columns of a task and return it."""
    database.update("coding_tasks", values, number=row["number"])
    return {**row, **values}


def attempts_of(tables: Tables, row: Row) -> list[Row]:
    """Return the attempts at a task, oldest first."""
    return tables.database.all(_ATTEMPTS, row["number"])


def cancel(change: Change, task_id: str, reason: str) -> Row:
    """Cancel a task. One that runs ends as soon as its worker hears of it.

    Raises:
        Problem: there is none (404), or it has ended otherwise (409).
    """
    row = lock(change, task_id)
    state = CodingState(row["state"])
    if state is CodingState.CANCELLED or row["cancel_reason"] is not None:
        return row
    if state.is_final:
        raise conflict("TASK_ENDED", f"coding task {task_id} is {state}", current=state.value)
    values: dict[str, Any] = {"cancel_reason": reason}
    if state is CodingState.WAITING:
        values |= {
            "state": CodingState.CANCELLED.value,
            "error": reason,
            "ended_at": change.store.database.now(),
        }
    return update(change.store.database, row, values)


def retry(change: Change, task_id: str) -> Row:
    """Have a task that ended without success tried again.

    Raises:
        Problem: there is none (404), or it has not ended, or succeeded (409).
    """
    row = lock(change, task_id)
    state = CodingState(row["state"])
    if state not in (CodingState.FAILED, CodingState.CANCELLED):
        raise conflict("NOT_FAILED", f"coding task {task_id} is {state}", current=state.value)
    database = change.store.database
    return update(database, row, waiting_again(database.now()) | {"attempts_left": 1})


def waiting_again(due_at: int) -> dict[str, Any]:
    """Return what changes of a task that is to be tried again."""
    return {
        "state": CodingState.WAITING.value,
        "worker": None,
        "lease_until": None,
        "due_at": due_at,
        "announced_at": 0,
        "cancel_reason": None,
        "ended_at": None,
    }


def to_answer(row: Row) -> dict[str, Any]:
    """Return a task as JSON, as ``CodingTaskAnswer`` documents it."""
    return {
        "id": row["id"],
        "name": row["name"],
        "task": t.from_json(row["context"]),
        "priority": row["priority"],
        "state": row["state"],
        "attempt": row["attempt"],
        "attemptsLeft": row["attempts_left"],
        "worker": row["worker"],
        "error": row["error"],
        "isCancelling": row["cancel_reason"] is not None and row["state"] == CodingState.RUNNING,
        "createdAt": t.date(row["created_at"]),
        "startedAt": t.date(row["started_at"]),
        "endedAt": t.date(row["ended_at"]),
        "dueAt": t.date(row["due_at"]),
    }


def attempt_to_answer(row: Row) -> dict[str, Any]:
    """Return an attempt as JSON, as ``AttemptAnswer`` documents it."""
    return {
        "attempt": row["attempt"],
        "worker": row["worker"],
        "outcome": row["outcome"],
        "error": row["error"],
        "result": t.from_json(row["result"]),
        "startedAt": t.date(row["started_at"]),
        "endedAt": t.date(row["ended_at"]),
    }
