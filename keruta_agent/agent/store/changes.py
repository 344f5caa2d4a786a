"""What changed since a position: the journal's events and the pieces of logs, for listeners.

Both are numbered by the database, so that a listener who comes back names the last that it got
and misses none, whatever was restarted meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from typing import Final, Self

from keruta_agent.agent.store.journal import Event
from keruta_agent.agent.store.run import LogRange
from keruta_agent.agent.store.sqlite.database import Database

#: Most events and most pieces of logs that are read at once.
EVENTS_A_READ: Final = 200
RANGES_A_READ: Final = 4
#: Digits of a number that the database can hold.
_LONGEST_NUMBER: Final = 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class Position:
    """How far a listener has come; as text ``events-run-ranges``."""

    #: Number of the last event of the journal.
    event: int = 0
    #: Id of the last run of whose log a piece was read, and the number of the piece behind that.
    run: int = 0
    next_range: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the written form; ``0`` is the beginning.

        Raises:
            ValueError: it is none.
        """
        parts = text.split("-")
        if text == "0":
            return cls()
        if len(parts) != 3 or not all(
            part.isascii() and part.isdecimal() and len(part) <= _LONGEST_NUMBER for part in parts
        ):
            raise ValueError("It must be the id of an event, or 0 for the beginning")
        event, run, next_range = map(int, parts)
        return cls(event=event, run=run, next_range=next_range)

    def bounded(self, newest: Position) -> Position:
        """Return this position, or the newest one if that is earlier."""
        log = min((self.run, self.next_range), (newest.run, newest.next_range))
        return Position(event=min(self.event, newest.event), run=log[0], next_range=log[1])

    def __str__(self) -> str:
        return f"{self.event}-{self.run}-{self.next_range}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One event of the journal, or one piece of a log."""

    job_id: int
    #: Unix time.
    at: float
    event: Event | None = None
    run_id: int | None = None
    run_number: int | None = None
    piece: LogRange | None = None
    #: Number of the event in the journal, where it is one.
    number: int = 0

    def moved(self, position: Position) -> Position:
        """Return the position after this change."""
        if self.piece is None or self.run_id is None:
            return dataclasses.replace(position, event=self.number)
        return dataclasses.replace(position, run=self.run_id, next_range=self.piece.sequence + 1)


class Changes:
    """The changes in agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def version(self) -> int:
        """Return a number that is another one when some other connection has stored something.

        Takes microseconds: so often may it be asked.
        """
        row = self._database.connection().execute("PRAGMA data_version").fetchone()
        return int(row[0])

    def newest(self) -> Position:
        """Return the position after the newest change."""
        connection = self._database.connection()
        event = connection.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]
        last = connection.execute(
            "SELECT run_id, sequence FROM log_ranges ORDER BY run_id DESC, sequence DESC LIMIT 1"
        ).fetchone()
        if last is None:
            return Position(event=event)
        return Position(event=event, run=last["run_id"], next_range=last["sequence"] + 1)

    def after(self, position: Position, *, job_id: int | None = None) -> list[Change]:
        """Return the next changes after a position, of one job or of all, oldest first.

        Not always all: a caller that got some asks again, until there are none.
        """
        events = self._events(position, job_id)
        pieces = self._pieces(position, job_id)
        # What lies behind the end of a full read is not known yet, and must not be overtaken.
        horizons = [
            found[-1].at
            for found, most in ((events, EVENTS_A_READ), (pieces, RANGES_A_READ))
            if len(found) == most
        ]
        found = sorted([*pieces, *events], key=lambda change: change.at)
        return [change for change in found if not horizons or change.at <= min(horizons)]

    def _events(self, position: Position, job_id: int | None) -> list[Change]:
        rows = self._database.connection().execute(
            "SELECT id, at, job_id, run_number, action, detail FROM journal "
            "WHERE id > ? AND (? IS NULL OR job_id = ?) ORDER BY id LIMIT ?",
            (position.event, job_id, job_id, EVENTS_A_READ),
        )
        return _in_order([_of_event(row) for row in rows])

    def _pieces(self, position: Position, job_id: int | None) -> list[Change]:
        rows = self._database.connection().execute(
            "SELECT log_ranges.*, job_id, number AS run_number "
            "FROM log_ranges JOIN runs ON runs.id = run_id "
            "WHERE (run_id, sequence) >= (?, ?) AND (? IS NULL OR job_id = ?) "
            "ORDER BY run_id, sequence LIMIT ?",
            (position.run, position.next_range, job_id, job_id, RANGES_A_READ),
        )
        return _in_order([_of_piece(row) for row in rows])


def _in_order(changes: list[Change]) -> list[Change]:
    """Return them with times that never fall: a clock that was set back changes no order."""
    latest = 0.0
    ordered = []
    for change in changes:
        latest = max(latest, change.at)
        ordered.append(dataclasses.replace(change, at=latest))
    return ordered


def _of_event(row: sqlite3.Row) -> Change:
    event = Event(
        at=row["at"],
        action=row["action"],
        run_number=row["run_number"],
        detail=json.loads(row["detail"]),
    )
    return Change(job_id=row["job_id"], at=row["at"], event=event, number=row["id"])


def _of_piece(row: sqlite3.Row) -> Change:
    piece = LogRange(**{field.name: row[field.name] for field in dataclasses.fields(LogRange)})
    return Change(
        job_id=row["job_id"],
        at=piece.read_at,
        run_id=row["run_id"],
        run_number=row["run_number"],
        piece=piece,
    )
