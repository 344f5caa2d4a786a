"""Identities of waits: one wait of a process and its next may look alike.

A process that is blocked has gone to sleep once for it; whatever wakes it up, it has to go to
sleep again before it can be blocked again. The kernel counts that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_COUNTER: Final = b"voluntary_ctxt_switches:"


def count_sleeps(pid: int) -> int | None:
    """Return how often the threads of a process went to sleep; None when it is unknown."""
    try:
        return sum(_sleeps_of(thread) for thread in Path(f"/proc/{pid}/task").iterdir())
    except (OSError, ValueError):  # it has ended, or this kernel does not tell
        return None


def _sleeps_of(thread: Path) -> int:
    for line in (thread / "status").read_bytes().splitlines():
        if line.startswith(_COUNTER):
            return int(line.removeprefix(_COUNTER))
    raise ValueError("this kernel does not count")
