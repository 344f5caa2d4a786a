"""What tests said."""

from __future__ import annotations

import pytest

from keruta_agent.core.coding.model import SingleTestResult, TestResult
from keruta_agent.runner.checks import failure


def result_of(*results: SingleTestResult) -> TestResult:
    return TestResult(False, list(results), 0.1)


def test_failed_commands_are_reported_with_both_outputs_and_their_ends() -> None:
    long = "begin\n" + "x" * 100_000 + "\nend"
    text = failure.describe(
        result_of(
            SingleTestResult("lint", True, "fine", "", 0, 0.1),
            SingleTestResult("pytest", False, long, "warned", 3, 0.1),
        )
    )
    assert text.startswith("$ pytest\nbegin") and "warned\n(exit code 3)" in text
    assert "characters left out" in text and "end" in text and "fine" not in text
    assert len(text) < failure.MOST_OUTPUT + 200


def test_tests_that_were_broken_off_are_reported_as_that() -> None:
    assert "did not run to their end" in failure.describe(result_of())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 failed in 0.12s", "1 failed in 13.4s"),
        ("==== 1 failed in 0.12s ====", "=== 1 failed in 10.12s ==="),
        ("<object at 0x7f00aa>", "<object at 0x7f11bb>"),
        ("/tmp/pytest-1/a.py", "/tmp/pytest-2/a.py"),
        ("2026-11-20T10:00:00Z no", "2026-11-20T10:00:07Z no"),
    ],
)
def test_failures_that_differ_only_in_passing_things_are_the_same(one: str, other: str) -> None:
    assert failure.digest(one) == failure.digest(other)


def test_failures_with_other_values_are_not_the_same() -> None:
    assert failure.digest("assert 3 == 4") != failure.digest("assert 3 == 5")
    assert failure.digest("test_a failed") != failure.digest("test_b failed")
