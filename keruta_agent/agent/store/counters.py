"""Totals over all runs that ever ended here, kept apart from the rows that they count.

They only grow, through restarts and housekeeping. Each is stored in the transaction of what it
counts, so that nothing is counted twice or never.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from keruta_agent.agent.store.run import Outcome, Run
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core.model import TaskStatus

#: Ended runs by outcome and reason.
RUNS: Final = "runs"
#: Ended runs by the first bound that their duration does not pass.
DURATIONS: Final = "durations"
#: Seconds of all ended runs together.
SECONDS: Final = "seconds"
#: Bytes that ended runs wrote, by stream.
BYTES: Final = "bytes"

#: Bounds of durations in seconds: from a quick command to a night's work.
BOUNDS_S: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0)


class Counters:
    """The totals of agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, labels: Sequence[str] = (), amount: float = 1.0) -> None:
        """Add to one total."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO counters (name, labels, value) VALUES (?, ?, ?) "
                "ON CONFLICT (name, labels) DO UPDATE SET value = value + excluded.value",
                (name, json.dumps(list(labels)), amount),
            )

    def get(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the totals of one name by their labels."""
        rows = self._database.connection().execute(
            "SELECT labels, value FROM counters WHERE name = ? ORDER BY labels", (name,)
        )
        return {tuple(json.loads(row["labels"])): float(row["value"]) for row in rows}

    def count_end(self, run: Run, reason: str, seconds: float, captured: Mapping[str, int]) -> None:
        """Count a run that has just ended, with the bytes that it wrote to each stream."""
        if run.outcome is None:
            raise ValueError(f"run {run.id} has not ended")
        # What scripts call their errors is without end, and would make endless series.
        said_so = run.outcome is Outcome.FAILED and run.reported_status is TaskStatus.FAILED
        shown = "REPORTED" if said_so else reason
        with self._database.transaction():
            self.add(RUNS, (run.outcome.value, shown))
            self.add(SECONDS, (), max(0.0, seconds))
            bound = next((bound for bound in BOUNDS_S if seconds <= bound), None)
            self.add(DURATIONS, ("+Inf" if bound is None else str(bound),))
            for stream, size in captured.items():
                self.add(BYTES, (stream,), size)
