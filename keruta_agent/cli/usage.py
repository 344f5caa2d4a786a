"""The usage of a run, in words and for programs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from keruta_agent.cli.tables import duration

if TYPE_CHECKING:
    from keruta_agent.agent.store.store import Records
    from keruta_agent.agent.store.usage import Usage

_UNITS: Final = ("kB", "MB", "GB", "TB")


def as_json(records: Records, run_id: int) -> dict[str, Any] | None:
    """Return what a run has used and its series, None when it was not measured."""
    usage = records.usages.get(run_id)
    if usage is None:
        return None
    return {
        **dataclasses.asdict(usage),
        "average_memory_bytes": usage.average_memory_bytes,
        "samples": [dataclasses.asdict(sample) for sample in records.usages.samples(run_id)],
    }


def described(usage: Usage) -> str:
    """Return what a run has used as one line."""
    used_s = usage.user_s + usage.system_s
    took_s = usage.elapsed_s if usage.wall_s is None else usage.wall_s
    share = f" ({100 * used_s / took_s:.0f} % of a core)" if took_s >= 1 else ""
    average = usage.average_memory_bytes
    on_average = "" if average is None else f", {size(average)} on average"
    number = usage.processes_seen
    at_once = f", {usage.peak_processes} at once" if usage.peak_processes < number else ""
    return "; ".join(
        (
            f"cpu {duration(used_s)}{share}",
            f"memory {size(usage.peak_memory_bytes)} at most{on_average}",
            f"disk {size(usage.read_bytes)} read, {size(usage.write_bytes)} written",
            f"{number} process{'' if number == 1 else 'es'}{at_once}",
        )
    )


def size(number: int) -> str:
    """Return bytes in the unit that suits them, such as ``12.3 MB``; 1 kB is 1024 bytes."""
    if number < 1024:
        return f"{number} B"
    scaled = float(number)
    for unit in _UNITS:
        scaled /= 1024
        if scaled < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{scaled:.1f} {unit}"
