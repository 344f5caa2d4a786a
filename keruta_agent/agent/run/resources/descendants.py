"""The processes below a shim, found again and again at little cost."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Final

from keruta_agent.agent.run.files import read_kernel

#: Seconds after which strangers are looked at again: their numbers may be somebody else's by then.
STRANGER_S: Final = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Descendant:
    """A living process."""

    pid: int
    parent: int
    #: How many threads it has.
    threads: int
    #: Clock ticks since boot.
    start_time: int


class Descendants:
    """The living descendants of a process."""

    def __init__(self, ancestor: int) -> None:
        self._ancestor = ancestor
        #: Processes that are not below the ancestor, and cannot come there: an orphan
        #: goes up to a reaper, never into another tree. Reading hundreds of them is what costs.
        self._strangers: set[int] = set()
        self._known_since = 0.0

    def find(self) -> list[Descendant]:
        """Return the living processes below the ancestor."""
        now = time.monotonic()
        if now - self._known_since > STRANGER_S:
            self._strangers = set()
            self._known_since = now
        numbers = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._strangers &= numbers
        found = {pid: _read(pid) for pid in numbers - self._strangers}
        living = {pid: process for pid, process in found.items() if process is not None}
        return [process for process in living.values() if self._is_below(process, living)]

    def _is_below(self, process: Descendant, living: dict[int, Descendant]) -> bool:
        """Return whether a process is below the ancestor; remember those that cannot be."""
        way = []
        at: Descendant | None = process
        while at is not None and at.parent != self._ancestor:
            way.append(at.pid)
            if at.parent == 0 or at.parent in self._strangers:
                self._strangers.update(way)
                return False
            at = living.get(at.parent)
        # None: a parent ended while we looked, and the next look finds out.
        return at is not None


def _read(pid: int) -> Descendant | None:
    """Return a process, None when it has ended."""
    try:
        stat = read_kernel(f"/proc/{pid}/stat")
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return Descendant(pid, int(fields[1]), int(fields[17]), int(fields[19]))
