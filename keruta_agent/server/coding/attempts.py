"""Attempts at coding tasks: claimed under a lease, renewed, ended, taken away.

The number of an attempt is its fence: it only grows, and what an earlier attempt still has to say
is kept as evidence and changes nothing. Leases end by the database's clock.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from keruta_agent.core.backoff import Backoff
from keruta_agent.http.bodies import to_json
from keruta_agent.server.coding.tasks import SECOND, CodingState, update, waiting_again
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import Row, select, statement

#: Between two attempts at one task, without jitter: its number of attempts is small.
BACKOFF: Final = Backoff(first_s=10.0, longest_s=600.0, jitter=0.0)
#: Tasks whose lease has ended that one write looks at.
MOST_LAPSED: Final = 100
#: Characters of an error that the task's row keeps.
LONGEST_ERROR: Final = 2_000


class Outcome(enum.StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: The runner or what it needs was not there: another attempt may do.
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    #: The worker gave it back before its end: it is stopping.
    RETURNED = "returned"
    #: Nobody renewed its lease.
    LOST = "lost"
    #: It ended after another attempt had begun, or its task had ended.
    LATE = "late"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A task that a worker has, and in which attempt."""

    number: int
    task_id: str
    name: str
    attempt: int
    context: Mapping[str, Any] = dataclasses.field(compare=False, repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """What a worker says of the end of an attempt."""

    outcome: Outcome
    error: str | None = None
    #: The runner's result, as it printed it.
    result: Mapping[str, Any] | None = None


_NEXT: Final = select(
    "coding_tasks",
    "state = 'waiting' AND due_at <= ? AND NOT EXISTS"
    " (SELECT 1 FROM coding_pool WHERE paused IS NOT NULL)"
    " ORDER BY priority DESC, number LIMIT 1",
    skips_locked=True,
)
_FIND: Final = select("coding_tasks", "number = ?")
_FIND_BY_ID: Final = select("coding_tasks", "id = ?")
_LOCK: Final = select("coding_tasks", "number = ?", locks=True)
_LAPSED: Final = select(
    "coding_tasks",
    f"state = 'running' AND lease_until < ? ORDER BY lease_until LIMIT {MOST_LAPSED}",
    skips_locked=True,
)
_RENEW: Final = statement(
    "UPDATE coding_tasks SET lease_until = ? WHERE number = ? AND attempt = ? AND state = 'running'"
)
_ATTEMPT: Final = select("coding_attempts", "task = ? AND attempt = ?")
_END_ATTEMPT: Final = statement(
    "UPDATE coding_attempts SET outcome = ?, error = ?, result = ?, ended_at = ?"
    " WHERE task = ? AND attempt = ? AND (outcome IS NULL OR outcome = 'lost')"
)


def claim_next(database: Database, worker: str, lease_s: float) -> Claim | None:
    """Claim the task that is to be done next; None where none may be."""
    with database.writing():
        now = database.now()
        row = database.one(_NEXT, now)
        if row is None:
            return None
        row = update(
            database,
            row,
            {
                "state": CodingState.RUNNING.value,
                "attempt": row["attempt"] + 1,
                "attempts_left": row["attempts_left"] - 1,
                "worker": worker,
                "lease_until": now + round(lease_s * SECOND),
                "started_at": row["started_at"] or now,
                "error": None,
            },
        )
        attempt = {"task": row["number"], "attempt": row["attempt"], "worker": worker}
        database.insert("coding_attempts", attempt | {"started_at": now})
    return Claim(
        number=row["number"],
        task_id=row["id"],
        name=row["name"],
        attempt=row["attempt"],
        context=t.from_json(row["context"]),
    )


def renew(database: Database, claims: Iterable[Claim], lease_s: float) -> None:
    """Renew the leases of attempts that are still their tasks'."""
    with database.writing():
        until = database.now() + round(lease_s * SECOND)
        for claim in sorted(claims, key=lambda claim: claim.number):
            database.run(_RENEW, until, claim.number, claim.attempt)


def to_stop(database: Database, claims: Iterable[Claim]) -> dict[Claim, str]:
    """Return the claims whose attempts are to stop, with the reason."""
    stopped = {}
    with database.connected():
        for claim in claims:
            row = database.one(_FIND, claim.number)
            if row is None or not _is_current(row, claim):
                stopped[claim] = "another attempt has taken its place"
            elif row["cancel_reason"] is not None:
                stopped[claim] = row["cancel_reason"]
    return stopped


def may_push(database: Database, claim: Claim, lease_s: float) -> bool:
    """Return whether an attempt is still its task's, and renew its lease for what it does now."""
    renew(database, [claim], lease_s)
    return not to_stop(database, [claim])


def is_over(database: Database, task_id: str, attempt: int) -> bool:
    """Return whether an attempt has ended, or was given up; one at an unknown task has not."""
    with database.connected():
        row = database.one(_FIND_BY_ID, task_id)
    if row is None:  # it may be of another database
        return False
    return bool(row["state"] != CodingState.RUNNING or row["attempt"] != attempt)


def end(database: Database, claim: Claim, ending: Ending) -> CodingState | None:
    """Store how an attempt ended and what follows.

    Returns:
        The state of its task; None where the attempt is not the task's any more: then what it has
        to say is kept beside it.
    """
    with database.writing():
        row = database.one(_LOCK, claim.number)
        if row is None:
            return None
        if not _is_current(row, claim):
            attempt = database.one(_ATTEMPT, claim.number, claim.attempt)
            if attempt is not None and attempt["outcome"] == ending.outcome:
                return CodingState(row["state"])  # stored before, and the answer got lost
            _note_end(database, claim.number, claim.attempt, ending, Outcome.LATE)
            return None
        _note_end(database, claim.number, claim.attempt, ending, ending.outcome)
        return _follow(database, row, ending)


def end_lapsed(database: Database) -> list[tuple[str, CodingState]]:
    """End attempts whose lease has ended; return their tasks' ids and states now."""
    with database.writing():
        rows = database.all(_LAPSED, database.now())
        found = []
        for row in rows:
            lost = Ending(
                outcome=Outcome.LOST,
                error=f"worker {row['worker']} was silent for longer than its lease",
            )
            _note_end(database, row["number"], row["attempt"], lost, Outcome.LOST)
            found.append((row["id"], _follow(database, row, lost)))
    return found


def _is_current(row: Row, claim: Claim) -> bool:
    return bool(row["state"] == CodingState.RUNNING and row["attempt"] == claim.attempt)


def _note_end(
    database: Database, task: int, attempt: int, ending: Ending, outcome: Outcome
) -> None:
    database.run(
        _END_ATTEMPT,
        outcome.value,
        _short(ending.error),
        None if ending.result is None else to_json(ending.result),
        database.now(),
        task,
        attempt,
    )


def _follow(database: Database, row: Row, ending: Ending) -> CodingState:
    """Change the task by how its present attempt ended, and return its state."""
    now = database.now()
    if row["cancel_reason"] is not None and ending.outcome is not Outcome.SUCCEEDED:
        return _finish(database, row, CodingState.CANCELLED, row["cancel_reason"], now)
    match ending.outcome:
        case Outcome.SUCCEEDED:
            return _finish(database, row, CodingState.SUCCEEDED, None, now)
        case Outcome.RETURNED:
            again = waiting_again(now) | {"attempts_left": row["attempts_left"] + 1}
            update(database, row, again)
            return CodingState.WAITING
        case Outcome.LOST | Outcome.UNAVAILABLE if row["attempts_left"] > 0:
            wait_s = BACKOFF.delay_s(row["attempt"])
            update(database, row, waiting_again(now + round(wait_s * SECOND)))
            return CodingState.WAITING
        case _:
            return _finish(database, row, CodingState.FAILED, ending.error, now)


def _finish(
    database: Database, row: Row, state: CodingState, error: str | None, now: int
) -> CodingState:
    values = {"state": state.value, "error": _short(error), "lease_until": None, "ended_at": now}
    update(database, row, values)
    return state


def _short(error: str | None) -> str | None:
    return None if error is None else error[:LONGEST_ERROR]
