"""What the task's page is made of: charts, differences, and what may be shown of a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keruta_agent.server.pages import charts, difference, history, previews


def test_chart_reaches_from_corner_to_corner() -> None:
    drawn = charts.chart("progress", "%", [(0.0, 0.0), (5.0, 50.0), (10.0, 100.0)])
    assert drawn is not None
    assert drawn.line == "0.0,80.0 160.0,40.0 320.0,0.0"


def test_table_of_a_long_series_is_short_and_tells_its_end() -> None:
    drawn = charts.chart("memory", "MB", [(float(n), float(n)) for n in range(1000)])
    assert drawn is not None
    assert len(drawn.rows) <= charts.MOST_ROWS + 1
    assert drawn.rows[0] == (0.0, 0.0)
    assert drawn.rows[-1] == (999.0, 999.0)


@pytest.mark.parametrize(
    "measured",
    [
        {},
        {"series": None},
        {"series": {"elapsedS": 1, "cpuPercent": [1]}},
        {"series": {"elapsedS": [0, 1], "cpuPercent": ["<script>", None]}},
        {"series": {"elapsedS": [0, 1e300], "cpuPercent": [1, -1], "memoryBytes": [True, 1]}},
    ],
)
def test_measurements_that_make_no_sense_are_not_drawn(measured: dict[str, object]) -> None:
    assert charts.of_measurements(measured) == []


def test_measurements_of_a_run_are_drawn() -> None:
    measured = {"series": {"elapsedS": [1, 2], "cpuPercent": [5, 250], "memoryBytes": [1e6, 2e6]}}
    processor, memory = charts.of_measurements(measured)
    assert (processor.name, processor.highest) == ("processor", 250.0)
    assert memory.points == [(1.0, 1.0), (2.0, 2.0)]


def test_lines_of_a_difference_are_told_apart() -> None:
    text = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new\n same"
    kinds = [kind for kind, _ in difference.marked_lines(text)]
    assert kinds == ["file", "file", "file", "place", "removed", "added", "same"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "text/plain"),
        (b"<script>alert(1)</script>", "text/plain"),
        ("日本語".encode() * 5000, "text/plain"),
        (b"", "text/plain"),
        (b"\xff\xfe<\0s\0c\0r\0i\0p\0t\0", None),
        (b"\x7fELF\x02\x01\0", None),
        (b"caf\xe9 \x1b$B", None),
    ],
)
def test_kind_of_a_file_is_what_its_bytes_prove(content: bytes, kind: str | None) -> None:
    assert previews.kind_of(content) == kind


def test_long_text_is_cut() -> None:
    shown = previews.text_of(b"x" * (previews.MOST_TEXT + 1))
    assert shown.is_cut
    assert len(shown.text) == previews.MOST_TEXT


def test_progress_goes_on_to_the_end_of_the_task() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    step = history.Step(at=begin, status="PROCESSING", progress=40, message="")
    drawn = history.progress_chart([step], begin + timedelta(hours=1))
    assert drawn is not None
    assert drawn.points == [(0.0, 40.0), (3600.0, 40.0)]
    assert history.progress_chart([], begin) is None
