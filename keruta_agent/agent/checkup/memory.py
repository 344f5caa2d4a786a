"""Check of the memory that is left: of the machine, or of the container that we are in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.agent.checkup.finding import Finding, ok, problem, room, warning
from keruta_agent.agent.run.resources.memory import group_directories

#: A limit this large is none: cgroups of version 1 write it when nobody has set one.
NO_LIMIT: Final = 1 << 60
#: By the version of control groups: the files of limit and use, and what counts the file cache.
_NAMES: Final = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def check_memory(least: int) -> Finding:
    """Return what is found: a problem when less than this many bytes are left."""
    found = [*_of_machine(), *_of_groups()]
    if not found:
        return warning("memory", "the free memory is unknown", "Mount /proc")
    free, where = min(found)
    text = f"{room(free)} free {where}"
    if free < least:
        return problem(
            "memory",
            f"{text}, less than {room(least)}",
            "End what uses it: `keruta status` shows what the running task takes",
        )
    return ok("memory", text)


def _of_machine() -> Iterator[tuple[int, str]]:
    for line in _lines(Path("/proc/meminfo")):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) * 1024, "on this machine"


def _of_groups() -> Iterator[tuple[int, str]]:
    """Yield what the limits of our control group, and of those around it, leave."""
    for version, own in group_directories("memory"):
        limit, used, cache = _NAMES[version]
        for directory in (own, *own.parents):
            most, taken = _number(directory / limit), _number(directory / used)
            if most is None or taken is None or most >= NO_LIMIT:
                continue
            statistics = dict(
                line.split(" ", 1) for line in _lines(directory / "memory.stat") if " " in line
            )
            # The file cache can be taken back.
            free = most - taken + int(statistics.get(cache, "0"))
            yield max(0, min(free, most)), "within the limit of this container"


def _number(path: Path) -> int | None:
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
