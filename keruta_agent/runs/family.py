"""Finds the processes below a shim again and again, at little cost."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

#: Seconds after which strangers are looked at again: their numbers may be somebody else's by then.
STRANGER_S: Final = 30.0


class Family:
    """The living processes below one."""

    def __init__(self, ancestor: int) -> None:
        self._ancestor = ancestor
        #: Processes that are not below the ancestor, and cannot come there: who loses its parent
        #: goes up, never into another family. Reading hundreds of them is what costs.
        self._strangers: set[int] = set()
        self._known_since = 0.0

    def members(self) -> list[int]:
        """Returns the processes below the ancestor."""
        now = time.monotonic()
        if now - self._known_since > STRANGER_S:
            self._strangers = set()
            self._known_since = now
        numbers = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._strangers &= numbers
        parents = {pid: _parent(pid) for pid in numbers - self._strangers}
        return [pid for pid in parents if self._is_below(pid, parents)]

    def _is_below(self, pid: int, parents: dict[int, int | None]) -> bool:
        """Tells whether a process is a member; remembers who is a stranger for sure."""
        way = []
        at: int | None = pid
        while at is not None and at != 0 and at not in self._strangers:
            way.append(at)
            at = parents.get(at)
            if at == self._ancestor:
                return parents[pid] is not None
        if at is not None:  # else a parent ended while we looked, and the next look will tell
            self._strangers.update(way)
        return False


def _parent(pid: int) -> int | None:
    """Returns the parent of a living process, None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[1])
