"""Ranges of a run's log that are withheld until the run ends, because its log has a limit."""

from __future__ import annotations

import dataclasses
import enum

from keruta_agent.agent.store.sqlite.database import Database


class Withholding(enum.IntEnum):
    """What is to become of a range."""

    #: It was queued for the API when it was seen, or has been since.
    QUEUED = 0
    WAITING = 1
    #: It is left out: the API gets how much that is.
    OMITTED = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class WithheldRange:
    """A range that is withheld."""

    sequence: int
    #: Bytes.
    size: int
    lines: int


class WithheldLog:
    """What is withheld of the logs of runs in agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sent_bytes(self, run_id: int) -> int:
        """Return the bytes of a run's output that were queued for the API."""
        row = self._database.connection().execute(
            "SELECT coalesce(sum(stop - start), 0) AS bytes FROM log_ranges "
            "WHERE run_id = ? AND held = ? AND stream <> 'agent'",
            (run_id, Withholding.QUEUED),
        )
        return int(row.fetchone()["bytes"])

    def has_any(self, run_id: int) -> bool:
        """Return whether something of a run's output is withheld."""
        row = self._database.connection().execute(
            "SELECT 1 FROM log_ranges WHERE run_id = ? AND held = ? LIMIT 1",
            (run_id, Withholding.WAITING),
        )
        return row.fetchone() is not None

    def ranges(self, run_id: int) -> list[WithheldRange]:
        """Return what is withheld of a run's output, in order."""
        rows = self._database.connection().execute(
            "SELECT sequence, stop - start AS size, lines FROM log_ranges "
            "WHERE run_id = ? AND held = ? ORDER BY sequence",
            (run_id, Withholding.WAITING),
        )
        return [WithheldRange(**dict(row)) for row in rows]

    def release(self, run_id: int, *, from_sequence: int | None) -> None:
        """Queue what is withheld from a range on, or nothing; the rest is left out."""
        queued_from = 2**62 if from_sequence is None else from_sequence
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE log_ranges SET held = CASE WHEN sequence >= ? THEN ? ELSE ? END "
                "WHERE run_id = ? AND held = ?",
                (queued_from, Withholding.QUEUED, Withholding.OMITTED, run_id, Withholding.WAITING),
            )
