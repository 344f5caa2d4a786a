"""The ends of leases, by the clock that nobody can set."""

from __future__ import annotations

import time


class Leases:
    """When the lease of each slot ends."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def begin(self, slot_id: str, seconds: float) -> None:
        """Begin a lease, or begin it anew."""
        self._ends[slot_id] = time.monotonic() + seconds

    def end(self, slot_id: str) -> None:
        """End a lease before its time."""
        self._ends.pop(slot_id, None)

    def left_s(self, slot_id: str) -> float | None:
        """Return the seconds that are left of a lease; None where there is none."""
        end = self._ends.get(slot_id)
        return None if end is None else max(0.0, end - time.monotonic())

    def expired(self) -> list[str]:
        """Return the slots whose leases have ended."""
        now = time.monotonic()
        return [slot_id for slot_id, end in self._ends.items() if end <= now]

    def next_end_s(self, most: float) -> float:
        """Return the seconds until the next lease ends, and no more than so many."""
        first = min(self._ends.values(), default=None)
        return most if first is None else min(most, max(0.0, first - time.monotonic()))
