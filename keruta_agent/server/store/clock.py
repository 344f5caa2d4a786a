"""The clock that leases and ages go by: one for all servers that share a database.

With SQLite there is one server, and its clock it is. Servers that share a PostgreSQL may run on
machines whose clocks are apart, and by its own each would take the agents of the others for dead,
or forget what they have just stored; so PostgreSQL's clock counts. It is asked once in a while,
and the monotonic clock, which nobody can set, counts on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from keruta_agent.server.store.statements import statement

#: Until it is asked again: two clocks go apart by some milliseconds in this time.
_HOLDS_S: Final = 60.0

READ: Final = statement("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT")


class _Reading(NamedTuple):
    """What the database's clock said, in microseconds, at a moment of the monotonic clock."""

    microseconds: int
    at: float


class DatabaseClock:
    """A clock that is elsewhere."""

    def __init__(self, read: Callable[[], int]) -> None:
        """Take what asks it for its microseconds since 1970."""
        self._read = read
        self._reading: _Reading | None = None

    def now(self) -> int:
        """Return the present by that clock."""
        reading = self._reading
        moment = time.monotonic()
        if reading is None or moment - reading.at > _HOLDS_S:
            microseconds = self._read()
            # The answer is older than its arrival, and younger than the question.
            reading = _Reading(microseconds, (moment + time.monotonic()) / 2)
            self._reading = reading
        return reading.microseconds + round((time.monotonic() - reading.at) * 1_000_000)
