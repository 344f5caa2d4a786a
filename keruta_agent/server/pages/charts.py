"""Small line charts, which the templates draw as SVG and repeat as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

WIDTH: Final = 320
HEIGHT: Final = 80
#: Rows of a table that tells the same as a chart: more nobody reads.
MOST_ROWS: Final = 20

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chart:
    """One quantity over the time of a run."""

    #: Key of what the words for it are found by.
    name: str
    unit: str
    points: Sequence[Point]
    #: Of the axes; both begin at 0.
    last_s: float
    highest: float

    @property
    def line(self) -> str:
        """The points as an SVG polyline has them."""
        across = WIDTH / (self.last_s or 1.0)
        up = HEIGHT / (self.highest or 1.0)
        return " ".join(f"{x * across:.1f},{HEIGHT - y * up:.1f}" for x, y in self.points)

    @property
    def rows(self) -> Sequence[Point]:
        """Some of the points, evenly spread, the last among them."""
        step = -(-len(self.points) // MOST_ROWS)
        return [*self.points[: len(self.points) - 1 : step], self.points[-1]]


def chart(name: str, unit: str, points: Sequence[Point], *, top: float = 0.0) -> Chart | None:
    """Return the chart of points in the order of time; None where there is nothing to draw.

    ``top`` is what the upright axis reaches at least.
    """
    if len(points) < 2:
        return None
    highest = max(top, *(y for _, y in points))
    return Chart(name=name, unit=unit, points=points, last_s=points[-1][0], highest=highest)


def of_measurements(measured: Mapping[str, Any]) -> list[Chart]:
    """Return what one run used, as an agent measured it; invalid values are left out."""
    series = measured.get("series")
    if not isinstance(series, Mapping):
        return []
    found = [
        chart("processor", "%", _points(series, "cpuPercent"), top=100.0),
        chart("memory", "MB", _points(series, "memoryBytes", scale=1e-6)),
    ]
    return [each for each in found if each is not None]


def _points(series: Mapping[str, Any], name: str, *, scale: float = 1.0) -> list[Point]:
    times, values = series.get("elapsedS"), series.get(name)
    if not isinstance(times, list) or not isinstance(values, list):
        return []
    return [
        (float(time), float(value) * scale)
        for time, value in zip(times, values, strict=False)
        if _is_measure(time) and _is_measure(value)
    ]


def _is_measure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
