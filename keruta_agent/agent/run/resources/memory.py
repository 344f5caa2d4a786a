"""Whether a script died because memory ran out.

The kernel does not say so in the exit status: it kills with SIGKILL like anybody else. It does
count its kills, for each control group and for the whole machine; a count that grew while the
script ran, together with a death by SIGKILL, is the sign.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.files import read_small, write_private

#: Holds the kernel's count as it was before the script started.
BEFORE: Final = "oom-before"
#: What a shell answers when the command that it waited for was killed.
KILLED_BELOW_SHELL: Final = 128 + signal.SIGKILL


def remember_before(directory: RunDirectory) -> None:
    """Note the kernel's count before the script starts."""
    write_private(directory.path / BEFORE, f"{kills()}\n")


def ran_out(directory: RunDirectory, record: ExitRecord) -> bool:
    """Return whether the kernel killed the script, or a part of it, for want of memory."""
    if record.signal != signal.SIGKILL and record.exit_code != KILLED_BELOW_SHELL:
        return False
    try:
        before = int(read_small(directory.path / BEFORE) or "")
    except ValueError:
        return False
    return kills() > before


def kills() -> int:
    """Return how often the kernel has killed for want of memory: in our group, else at all."""
    for path in _group_counters():
        count = _count(path, "oom_kill")
        if count is not None:
            return count
    return _count(Path("/proc/vmstat"), "oom_kill") or 0


def group_directories(controller: str) -> Iterator[tuple[int, Path]]:
    """Yield the directories of our control group, each with the version that it belongs to."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        below = group.lstrip("/")
        if not controllers:
            yield 2, Path("/sys/fs/cgroup", below)
        elif controller in controllers.split(","):
            yield 1, Path("/sys/fs/cgroup", controller, below)


def _group_counters() -> list[Path]:
    """Return the files that count the kills of our control group."""
    return [
        directory / ("memory.events" if version == 2 else "memory.oom_control")
        for version, directory in group_directories("memory")
    ]


def _count(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    except (OSError, ValueError):
        return None
    return None
