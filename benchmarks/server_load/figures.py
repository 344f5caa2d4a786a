"""Figures of runs, and the table that shows them side by side."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from benchmarks.server_load.connection import Answer

#: Named figures of one run, in the order of the table.
Figures = dict[str, float]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent are not above; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)]


def in_ms(name: str, seconds: Sequence[float]) -> Figures:
    """Return the median, the 99th percentile and the largest of some times."""
    return {
        f"{name} p50 ms": percentile(seconds, 50) * 1000,
        f"{name} p99 ms": percentile(seconds, 99) * 1000,
        f"{name} max ms": max(seconds, default=math.nan) * 1000,
    }


class Tally:
    """The answers of a run: how long they took, and those that were none."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.failures: Counter[str] = Counter()

    async def note(self, name: str, asking: Awaitable[Answer]) -> Answer | None:
        """Wait for an answer and note what became of it; return None when it failed."""
        try:
            answer = await asking
        except OSError as exc:  # a time-out as well
            self.failures[f"{name}: {type(exc).__name__}"] += 1
            return None
        if answer.status >= 300:
            self.failures[f"{name}: {answer.status}"] += 1
            return None
        self.seconds[name].append(answer.took_s)
        return answer

    @property
    def answered(self) -> int:
        """How many requests succeeded."""
        return sum(map(len, self.seconds.values()))

    def figures(self) -> Figures:
        """Return the times of each kind of request and of all of them."""
        found: Figures = {}
        for name, seconds in self.seconds.items():
            found |= in_ms(name, seconds)
        found |= in_ms("all", [took for each in self.seconds.values() for took in each])
        failed = {f"failed, {name}": float(number) for name, number in self.failures.items()}
        return found | {"requests": self.answered, "failed": self.failures.total(), **failed}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """All runs of one scenario against one server."""

    label: str
    program: str
    revision: str
    runs: Sequence[Figures]

    def median(self, name: str) -> float:
        """Return the median of a figure over the runs that have it."""
        known = [run[name] for run in self.runs if not math.isnan(run.get(name, math.nan))]
        return statistics.median(known) if known else math.nan


def as_json(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """Return everything that was measured, NaN as null."""
    servers = [
        dataclasses.asdict(result)
        | {"runs": [{name: _number(value) for name, value in run.items()} for run in result.runs]}
        for result in results
    ]
    return json.dumps({**about, "servers": servers}, indent=2, allow_nan=False)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def as_table(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """Return the medians side by side, and the last server's ratio to the first one's."""
    first, last = results[0], results[-1]
    names = list(dict.fromkeys(name for result in results for run in result.runs for name in run))
    width = max(map(len, names))
    heads = [f"{result.label:>12}" for result in results]
    lines = [f"{'':{width}}{''.join(heads)}{'ratio' if len(results) > 1 else '':>9}".rstrip()]
    for name in names:
        cells = "".join(f"{_shown(result.median(name)):>12}" for result in results)
        ratio = ""
        if len(results) > 1 and first.median(name):
            ratio = _shown(last.median(name) / first.median(name))
        lines.append(f"{name:{width}}{cells}{ratio:>9}".rstrip())
    lines.append("")
    lines += [f"{key}: {value}" for key, value in about.items()]
    lines += [f"{result.label}: {result.program} {result.revision}" for result in results]
    return "\n".join(lines)


def _shown(value: float) -> str:
    if math.isnan(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.2f}"
