"""When the outcome of a test command is not accepted, whatever its exit code says."""

from __future__ import annotations

import pytest

from keruta_agent.core.coding.model import SingleTestResult
from keruta_agent.runner.checks import comparison
from keruta_agent.runner.checks.comparison import CommandRun
from keruta_agent.runner.checks.results.report import Outcome, Report

P, F, S, X, N = (
    *(Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED, Outcome.XFAILED, Outcome.NOT_LOADED),
)


def run(code: int, named: dict[str, Outcome] | None = None, **counted: int) -> CommandRun:
    """Return a run that names its tests, or counts them, or says nothing."""
    report = None
    if named is not None:
        report = Report.of("x", named.items())
    elif counted:
        counts = {Outcome[name.upper()]: number for name, number in counted.items()}
        report = Report(framework="x", counts=counts)
    return CommandRun(result=SingleTestResult("test", code == 0, "", "", code, 0.1), report=report)


BEFORE = run(1, {"a": P, "b": F})


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (BEFORE, run(0, {"a": P, "b": P})),
        (BEFORE, run(0, {"a": P, "b": P, "c": P})),
        (BEFORE, run(1, {"a": P, "b": F})),  # the exit code says enough
        (None, run(0, {"a": P})),
        (None, run(0)),
        (run(1), run(0)),
        (run(5, {}), run(0, {"a": P})),
        (run(0, {}), run(0, {})),  # there were none
        (run(0, passed=0), run(0, passed=0)),
        (run(1, {"b": N}), run(0, {"x": P})),  # could not be loaded before
        (run(1, {"t[1]": P, "t[2]": F}), run(0, {"t[1]": P, "t[3]": P})),  # parameters of the code
        (run(1, passed=1, failed=1), run(0, passed=2)),
        (run(0, {"a": P, "b": F}), run(0, {"a": P, "b": F})),  # the command ignores failures
        (run(0, {"a": S, "b": X}), run(0, {"a": S, "b": X})),
        (run(0, {"a": S}), run(0, {"a": P})),
    ],
)
def test_honest_outcomes_are_accepted(before: CommandRun | None, now: CommandRun) -> None:
    assert comparison.faults(before, now) == []


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (BEFORE, run(0, {"a": P}), "do not run now: b"),
        (BEFORE, run(0, {"b": P}), "do not run now: a"),
        (BEFORE, run(0, {"a": P, "c": P}), "do not run now: b"),
        (BEFORE, run(0, {"a": P, "b": S}), "are skipped: b"),
        (BEFORE, run(0, {"a": P, "b": X}), "are skipped: b"),
        (BEFORE, run(0, {"a": P, "b": F}), "exit code 0, and tests fail: b"),
        (BEFORE, run(0, {"a": F, "b": P}), "exit code 0, and tests fail: a"),
        (BEFORE, run(0, {}), "ran 0 tests"),
        (BEFORE, run(0), "no tests that are known of, and 2 before"),
        (BEFORE, run(0, passed=1), "fewer tests ran than before the change: 1, before 2"),
        (None, run(0, {}), "ran 0 tests"),
        (None, run(0, {"a": F}), "tests fail: a"),
        (run(1, {"b": N}), run(0, {}), "ran 0 tests"),
        (run(1, {"t[1]": P, "t[2]": F}), run(0, {"t[1]": P}), "do not run now: t[2]"),
        (run(1, passed=1, failed=1), run(0, passed=1, skipped=1), "more tests are skipped"),
        (run(1, passed=1, failed=1), run(0, passed=1, failed=1), "tests fail: 1 of them"),
        (run(0, {"a": P, "b": F}), run(0, {"a": F, "b": F}), "tests fail: a"),
    ],
)
def test_dishonest_outcomes_are_named(
    before: CommandRun | None, now: CommandRun, told: str
) -> None:
    assert any(told in fault for fault in comparison.faults(before, now))


def test_many_names_are_shortened() -> None:
    before = run(1, {str(number): P for number in range(50)})
    (fault,) = comparison.faults(before, run(0, {"0": P}))
    assert "and 39 more" in fault
