"""The demo's view and verdict: what is shown of a change, and what counts as wrong."""

from __future__ import annotations

import dataclasses

import click
import pytest

from keruta_agent.cli import demo_showing
from keruta_agent.cli.demo_showing import TaskOutcome, Wanted
from keruta_agent.cli.live_view import MOST_LINES, Bars, PlainLines, log_line
from keruta_agent.cli.tables import display_width, fit
from keruta_agent.core.model import LogEntry, LogLevel, Task, TaskStatus

WANTED = {
    "good": Wanted(log_lines=2, artifacts=("a.txt",)),
    "bad": Wanted(log_lines=0, status=TaskStatus.FAILED, is_fixed=True),
}
GOOD = TaskOutcome(
    name="good",
    status=TaskStatus.COMPLETED,
    reason="",
    run_time_s=1.0,
    log_lines=2,
    artifacts=("a.txt",),
    auto_fix_of=None,
)
BAD = dataclasses.replace(GOOD, name="bad", status=TaskStatus.FAILED, artifacts=())
FIX = dataclasses.replace(GOOD, name="fix", auto_fix_of="bad")
TASK = Task(id="1", name="仕事", status=TaskStatus.PROCESSING, progress=40, message="half\nmore")


def entries(count: int) -> list[LogEntry]:
    return [LogEntry(level=LogLevel.INFO, message=f"line {number}") for number in range(count)]


def test_verdict_finds_nothing_wrong_with_what_was_wanted() -> None:
    assert demo_showing.complaints_about([GOOD, BAD, FIX], WANTED) == []


@pytest.mark.parametrize(
    ("outcomes", "complaint"),
    [
        ([dataclasses.replace(GOOD, status=TaskStatus.FAILED), BAD, FIX], "good is FAILED"),
        ([dataclasses.replace(GOOD, log_lines=1), BAD, FIX], "has 1 of 2 lines"),
        ([dataclasses.replace(GOOD, artifacts=()), BAD, FIX], "are none; they should be a.txt"),
        ([dataclasses.replace(GOOD, artifacts=("a.txt",) * 2), BAD, FIX], "a.txt, a.txt"),
        ([GOOD, dataclasses.replace(BAD, status=TaskStatus.COMPLETED), FIX], "not FAILED"),
        ([GOOD, BAD], "bad got no auto-fix task"),
        ([GOOD, BAD, dataclasses.replace(FIX, status=TaskStatus.FAILED)], "of bad is FAILED"),
        ([BAD, FIX], "good is missing"),
    ],
)
def test_verdict_names_what_is_wrong(outcomes: list[TaskOutcome], complaint: str) -> None:
    found = demo_showing.complaints_about(outcomes, WANTED)

    assert len(found) == 1
    assert complaint in found[0]


def test_demo_waits_for_the_fix_of_a_failed_task() -> None:
    good = Task(id="1", name="good", status=TaskStatus.COMPLETED)
    bad = Task(id="2", name="bad", status=TaskStatus.FAILED)
    fix = Task(id="3", name="fix", status=TaskStatus.PENDING, parent_task_id="2")
    fixed = dataclasses.replace(fix, status=TaskStatus.COMPLETED)

    assert not demo_showing.has_ended([good, bad], WANTED)
    assert not demo_showing.has_ended([good, bad, fix], WANTED)
    assert demo_showing.has_ended([good, bad, fixed], WANTED)


def test_wrong_outcome_is_said_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    demo_showing.print_outcome([GOOD], ["bad is missing"])

    shown = capsys.readouterr()
    assert "not as expected: bad is missing" in shown.err
    assert "As expected" not in shown.out
    assert "good" in shown.out


def test_plain_lines_show_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainLines()
    view.show([TASK])
    view.show([TASK])
    view.show([dataclasses.replace(TASK, progress=50)])

    shown = [line[9:] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["仕事: PROCESSING 40% half", "仕事: PROCESSING 50% half"]


def test_plain_lines_count_what_they_leave_out(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainLines()
    view.log(TASK, entries(MOST_LINES - 1))
    view.log(TASK, entries(1000))
    view.show([dataclasses.replace(TASK, status=TaskStatus.COMPLETED)])

    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == MOST_LINES + 2
    assert shown[-2].endswith("... and 999 more lines")


def test_bars_are_redrawn_in_place_and_fit_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    view = Bars()
    with click.Context(click.Command("demo"), color=True):  # as on a terminal
        view.show([dataclasses.replace(TASK, message="長い" * 50)])
        first = capsys.readouterr().out
        view.log(TASK, [LogEntry(level=LogLevel.ERROR, message="x" * 200)])
        second = capsys.readouterr().out

    assert "仕事 [########............]" in first
    assert second.startswith("\x1b[1A\x1b[J仕事 | [ERROR] xxx")
    for line in (first + second.removeprefix("\x1b[1A\x1b[J")).splitlines():
        assert display_width(line) <= 60


def test_log_line_cannot_drive_the_terminal() -> None:
    entry = LogEntry(level=LogLevel.WARN, message="a\x1b[2Jb\rc")

    assert log_line(TASK, entry) == "仕事 | [WARN] a [2Jb c"


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [("abc", 3, "abc"), ("abcd", 3, "..."), ("abcdef", 5, "ab..."), ("日本語です", 8, "日本...")],
)
def test_text_is_cut_to_columns(text: str, columns: int, shown: str) -> None:
    assert fit(text, columns) == shown
