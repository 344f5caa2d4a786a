"""What runs use: processor, memory, disk and processes, as totals and as a short series.

The totals are stored at each look, so that a daemon that takes over adds to them. The series is
for graphs: it is thinned when it gets long, so that a run of a week has no more points than one
of ten minutes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

from keruta_agent.agent.store.sqlite.database import Database

#: Points of one run's series; more than a graph on a screen can show.
MOST_SAMPLES: Final = 300
#: Seconds between the first points of a series; doubled each time that it is thinned.
FIRST_SPACING_S: Final = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Usage:
    """What one run has used so far; bytes and seconds."""

    #: Age of the script at the last look.
    elapsed_s: float = 0.0
    #: How long the run took, once it has ended.
    wall_s: float | None = None
    user_s: float = 0.0
    system_s: float = 0.0
    #: Between the last two looks; 100 is one core.
    cpu_percent: float = 0.0
    #: Of all processes together at the last look, pages that they share counted once.
    memory_bytes: int = 0
    peak_memory_bytes: int = 0
    #: Memory times time: its integral, from which the average follows.
    memory_byte_s: float = 0.0
    #: From and to disks, not from caches.
    read_bytes: int = 0
    write_bytes: int = 0
    processes: int = 0
    peak_processes: int = 0
    #: Different processes that some look has found; shorter ones were not seen.
    processes_seen: int = 0
    #: Seconds between the points of the series.
    spacing_s: float = FIRST_SPACING_S

    @property
    def average_memory_bytes(self) -> int | None:
        """Average over the time that was measured, None for a run too short for a look."""
        return round(self.memory_byte_s / self.elapsed_s) if self.elapsed_s > 0 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One point of a run's series."""

    #: Age of the script.
    elapsed_s: float
    cpu_percent: float
    #: The most since the point before.
    memory_bytes: int


_USAGE_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Usage))


class Usages:
    """What the runs of agent.db have used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, run_id: int) -> Usage | None:
        """Return what a run has used, None when it was never looked at."""
        row = self._database.connection().execute(
            "SELECT * FROM run_usage WHERE run_id = ?", (run_id,)
        )
        found = row.fetchone()
        return None if found is None else Usage(**{name: found[name] for name in _USAGE_FIELDS})

    def put(self, run_id: int, usage: Usage) -> None:
        """Store what a run has used so far."""
        names = ", ".join(_USAGE_FIELDS)
        marks = ", ".join("?" * len(_USAGE_FIELDS))
        values = dataclasses.astuple(usage)
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO run_usage (run_id, {names}) "  # noqa: S608 - our own names
                f"VALUES (?, {marks})",
                (run_id, *values),
            )

    def add_sample(self, run_id: int, sample: Sample) -> bool:
        """Add a point to a run's series; return whether that was thinned for it."""
        with self._database.transaction(durable=False) as connection:
            self._insert(run_id, [sample])
            number = connection.execute(
                "SELECT count(*) FROM run_samples WHERE run_id = ?", (run_id,)
            ).fetchone()[0]
            if number <= MOST_SAMPLES:
                return False
            thinned = list(_halved(self.samples(run_id)))
            connection.execute("DELETE FROM run_samples WHERE run_id = ?", (run_id,))
            self._insert(run_id, thinned)
            return True

    def samples(self, run_id: int) -> list[Sample]:
        """Return a run's series, from its beginning."""
        rows = self._database.connection().execute(
            "SELECT elapsed_s, cpu_percent, memory_bytes FROM run_samples WHERE run_id = ? "
            "ORDER BY elapsed_s",
            (run_id,),
        )
        return [Sample(**dict(row)) for row in rows]

    def _insert(self, run_id: int, samples: Sequence[Sample]) -> None:
        self._database.connection().executemany(
            "INSERT OR REPLACE INTO run_samples (run_id, elapsed_s, cpu_percent, memory_bytes) "
            "VALUES (?, ?, ?, ?)",
            [(run_id, *dataclasses.astuple(sample)) for sample in samples],
        )


def _halved(samples: Sequence[Sample]) -> Iterator[Sample]:
    """Make one point of each two: the mean of the processor, the peak of the memory."""
    for first, second in zip(samples[::2], samples[1::2], strict=False):
        yield Sample(
            elapsed_s=second.elapsed_s,
            cpu_percent=(first.cpu_percent + second.cpu_percent) / 2,
            memory_bytes=max(first.memory_bytes, second.memory_bytes),
        )
    if len(samples) % 2:
        yield samples[-1]
