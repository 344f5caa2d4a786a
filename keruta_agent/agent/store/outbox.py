"""The outbox: the writes that the API has yet to confirm, in order, one row each.

A row is stored in the same transaction as the fact that it reports, so that neither is there
without the other. Rows leave per task in the order in which they came, in two lanes: files may
take minutes, and what a task says meanwhile passes them by. Its state does not: states and files
keep their order, so that a task ends when its files have arrived. A row that the API refuses
becomes a dead letter: it is set aside, where people can see it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core.model import StatusReport

#: Bytes of log that travel in one request; 100 to 200 KB is where bigger ones stop to pay.
BATCH_BYTES: Final = 256 * 1024
#: Most ranges in one request, for scripts that print a few bytes at a time.
BATCH_RANGES: Final = 500


class Kind(enum.StrEnum):
    """What a row reports to the API."""

    STATUS = "status"
    PROGRESS = "progress"
    LOGS = "logs"
    ARTIFACT = "artifact"
    AUTO_FIX = "auto_fix"
    METRICS = "metrics"
    #: One log line that belongs to no run of this agent.
    LOG_LINE = "log_line"
    #: A script waits for a person, and that it goes on.
    QUESTION = "question"
    RESUMED = "resumed"


class Lane(enum.Enum):
    """A part of the outbox whose entries leave in order, beside the other part."""

    REPORTS = "kind <> 'artifact'"
    FILES = "kind = 'artifact'"


#: The condition under which the first row of its lane waits for the other lane.
_BLOCKED: Final = (
    "(head.kind IN ('status', 'artifact') AND EXISTS ("
    "SELECT 1 FROM outbox AS earlier WHERE earlier.state = 'pending' "
    "AND earlier.task_id = head.task_id AND earlier.id < head.id "
    "AND earlier.kind IN ('status', 'artifact')))"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutboxEntry:
    """One row of the outbox: a write that the API has yet to confirm."""

    id: int
    task_id: str
    run_id: int | None
    kind: Kind
    #: Idempotency key: a server that knows it stores a repeated write once.
    key: str
    payload: Mapping[str, Any]
    #: ``pending``, or ``parked`` for a dead letter.
    state: str
    #: Key of the request that this row travels in; None while it never left.
    batch: str | None
    #: Log entries of the batch, counted from its first, that the server has stored.
    delivered_entries: int
    attempts: int
    #: Seconds since boot before which it is not tried again.
    not_before: float
    last_error: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of one task that leave in one request."""

    #: Idempotency key of the request: the same at each attempt.
    key: str
    entries: Sequence[OutboxEntry]
    #: Whether the request was sent before and its answer is unknown.
    may_have_arrived: bool

    @property
    def first(self) -> OutboxEntry:
        """The row that leads: the only one, unless these are ranges of a log."""
        return self.entries[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutboxCounts:
    """How much waits to be sent."""

    pending: int
    #: Set aside: they are not sent again, and people can see them.
    dead_letters: int
    #: Unix time of the oldest pending row.
    oldest: float | None


class Outbox:
    """The outbox of agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_status(
        self, task_id: str, report: StatusReport, *, run_id: int | None, key: str
    ) -> None:
        """Queue a write of a task's state."""
        self.add(Kind.STATUS, task_id, dataclasses.asdict(report), run_id=run_id, key=key)

    def add(
        self,
        kind: Kind,
        task_id: str,
        payload: Mapping[str, Any],
        *,
        run_id: int | None,
        key: str,
    ) -> None:
        """Queue a write; one with a key that is queued already is dropped."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO outbox (task_id, run_id, kind, key, payload, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                (
                    task_id,
                    run_id,
                    kind.value,
                    key,
                    json.dumps(payload),
                    time.time(),
                ),
            )

    def add_log_range(
        self, task_id: str, run_id: int, run_uid: str, sequence: int, size: int
    ) -> None:
        """Queue a range of a run's log: its place in the files and its bytes, not a copy."""
        self.add(
            Kind.LOGS,
            task_id,
            {"sequence": sequence, "bytes": size},
            run_id=run_id,
            key=f"{run_uid}-log-{sequence}",
        )

    def put_progress(
        self, task_id: str, run_id: int, run_uid: str, percent: int, message: str
    ) -> None:
        """Queue a progress, in place of one that has not left yet: only the newest counts."""
        payload = json.dumps({"percent": percent, "message": message})
        with self._database.transaction() as connection:
            replaced = connection.execute(
                "UPDATE outbox SET payload = ? WHERE run_id = ? AND kind = 'progress' "
                "AND state = 'pending' AND batch IS NULL",
                (payload, run_id),
            )
            if replaced.rowcount == 0:
                connection.execute(
                    "INSERT INTO outbox (task_id, run_id, kind, key, payload, created_at) "
                    "VALUES (?, ?, 'progress', ?, ?, ?)",
                    (
                        task_id,
                        run_id,
                        f"{run_uid}-progress-{secrets.token_hex(4)}",
                        payload,
                        time.time(),
                    ),
                )

    def tasks_due(self, now: float, lane: Lane | None = None) -> list[str]:
        """Return the tasks whose next row may leave now, the longest waiting first."""
        return [task_id for task_id, not_before in self._heads(lane) if not_before <= now]

    def forget_waits(self) -> None:
        """Make every row due now: the delays of an earlier agent, or boot, are over."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE outbox SET not_before = 0")

    def next_due(self, lane: Lane | None = None) -> float | None:
        """Return the seconds since boot at which the first row may leave.

        None if none waits, or all wait for the other lane.
        """
        return min((not_before for _, not_before in self._heads(lane)), default=None)

    def _heads(self, lane: Lane | None) -> list[tuple[str, float]]:
        """Return task and time of each row that leads its task, the oldest first."""
        rows = self._database.connection().execute(
            f"SELECT task_id, not_before FROM outbox AS head WHERE id IN ("  # noqa: S608
            f"SELECT min(id) FROM outbox WHERE state = 'pending' AND {_in(lane)} "
            f"GROUP BY task_id) AND NOT {_BLOCKED} ORDER BY id"
        )
        return [(row["task_id"], row["not_before"]) for row in rows]

    def take(self, task_id: str, lane: Lane | None = None) -> Batch | None:
        """Take what is to leave next for a task: one row, or several ranges of its log.

        The rows are marked with the request that they travel in before they leave, so that a
        repetition, even by another process, is the same request with the same key. None means
        that nothing waits, or that it waits for the other lane.
        """
        with self._database.transaction() as connection:
            entries = self._next(task_id, lane)
            if not entries:
                return None
            first = entries[0]
            if first.batch is not None:
                return Batch(key=first.batch, entries=entries, may_have_arrived=True)
            key = first.key if len(entries) == 1 else f"{first.key}+{len(entries) - 1}"
            connection.executemany(
                "UPDATE outbox SET batch = ? WHERE id = ?",
                [(key, entry.id) for entry in entries],
            )
        return Batch(key=key, entries=entries, may_have_arrived=False)

    def _next(self, task_id: str, lane: Lane | None) -> list[OutboxEntry]:
        entries = self._first(task_id, lane, 1)
        if not entries or self._is_blocked(entries[0]):
            return []
        if entries[0].kind is not Kind.LOGS:
            return entries
        entries = self._first(task_id, lane, BATCH_RANGES)
        first = entries[0]
        together: list[OutboxEntry] = []
        size = 0
        for entry in entries:
            if (entry.kind, entry.run_id, entry.batch) != (Kind.LOGS, first.run_id, first.batch):
                break
            size += entry.payload["bytes"]
            if together and size > BATCH_BYTES:
                break
            together.append(entry)
        return together

    def _first(self, task_id: str, lane: Lane | None, count: int) -> list[OutboxEntry]:
        rows = self._database.connection().execute(
            f"SELECT * FROM outbox WHERE task_id = ? AND state = 'pending' "  # noqa: S608
            f"AND {_in(lane)} ORDER BY id LIMIT ?",
            (task_id, count),
        )
        return [_entry_of(row) for row in rows]

    def _is_blocked(self, entry: OutboxEntry) -> bool:
        row = self._database.connection().execute(
            f"SELECT 1 FROM outbox AS head WHERE id = ? AND {_BLOCKED}",  # noqa: S608
            (entry.id,),
        )
        return row.fetchone() is not None

    def release(self, batch: Batch) -> None:
        """Unmark a batch that was never sent: nothing of it can have arrived."""
        if batch.may_have_arrived:
            return
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE outbox SET batch = NULL WHERE id = ?",
                [(entry.id,) for entry in batch.entries],
            )

    def delivered(self, batch: Batch) -> None:
        """Remove what the API has stored."""
        with self._database.transaction(durable=False) as connection:
            connection.executemany(
                "DELETE FROM outbox WHERE id = ?", [(entry.id,) for entry in batch.entries]
            )

    def partly_delivered(self, batch: Batch, log_entries: int) -> None:
        """Remember how many log entries of a batch the API has stored."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "UPDATE outbox SET delivered_entries = ? WHERE id = ?",
                (log_entries, batch.first.id),
            )

    def retry_later(self, batch: Batch, error: str, not_before: float) -> None:
        """Keep a batch for another attempt."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE outbox SET attempts = attempts + 1, last_error = ?, not_before = ? "
                "WHERE id = ?",
                [(error, not_before, entry.id) for entry in batch.entries],
            )

    def set_aside(self, batch: Batch, error: str) -> None:
        """Make dead letters of a batch that the API will never take."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE outbox SET state = 'parked', attempts = attempts + 1, last_error = ? "
                "WHERE id = ?",
                [(error, entry.id) for entry in batch.entries],
            )

    def dead_letters(self, *, task_id: str | None = None) -> list[OutboxEntry]:
        """Return the entries that the API will never take, oldest first."""
        rows = self._database.connection().execute(
            "SELECT * FROM outbox WHERE state = 'parked' AND (? IS NULL OR task_id = ?) "
            "ORDER BY id",
            (task_id, task_id),
        )
        return [_entry_of(row) for row in rows]

    def entry_of(self, key: str) -> OutboxEntry | None:
        """Return a queued row by its key; None when it was delivered or never queued."""
        row = self._database.connection().execute("SELECT * FROM outbox WHERE key = ?", (key,))
        found = row.fetchone()
        return None if found is None else _entry_of(found)

    def remove(self, key: str) -> None:
        """Forget a row."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE key = ?", (key,))

    def unsent(self, task_id: str) -> int:
        """Return how many rows of a task have yet to leave."""
        row = self._database.connection().execute(
            "SELECT count(*) AS number FROM outbox WHERE task_id = ? AND state = 'pending'",
            (task_id,),
        )
        return int(row.fetchone()["number"])

    def pending_for(self, run_id: int) -> bool:
        """Return whether something of a run has yet to leave."""
        row = self._database.connection().execute(
            "SELECT 1 FROM outbox WHERE run_id = ? AND state = 'pending' LIMIT 1", (run_id,)
        )
        return row.fetchone() is not None

    def last_error(self) -> str | None:
        """Return the error of the oldest entry that failed."""
        row = self._database.connection().execute(
            "SELECT last_error FROM outbox WHERE state = 'pending' AND last_error <> '' "
            "ORDER BY id LIMIT 1"
        )
        found = row.fetchone()
        return None if found is None else str(found["last_error"])

    def counts(self) -> OutboxCounts:
        """Return how much waits to be sent."""
        row = (
            self._database.connection()
            .execute(
                "SELECT coalesce(sum(state = 'pending'), 0) AS pending, "
                "coalesce(sum(state = 'parked'), 0) AS dead_letters, "
                "min(CASE WHEN state = 'pending' THEN created_at END) AS oldest FROM outbox"
            )
            .fetchone()
        )
        return OutboxCounts(**dict(row))


def _in(lane: Lane | None) -> str:
    return "TRUE" if lane is None else lane.value


def _entry_of(row: sqlite3.Row) -> OutboxEntry:
    values = {field.name: row[field.name] for field in dataclasses.fields(OutboxEntry)}
    values["kind"] = Kind(values["kind"])
    values["payload"] = json.loads(values["payload"])
    return OutboxEntry(**values)
