"""A clock that cannot be set: seconds since boot, sleep included.

What is to happen later (a retry, the end of a time limit) is measured with it, so that a step of
the wall clock neither starts nor ends anything. Such a time means something only together with
the boot that it belongs to.
"""

from __future__ import annotations

import time
from pathlib import Path


def boot_seconds() -> float:
    """Return the seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the kernel's name for the time since the last boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
