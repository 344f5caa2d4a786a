"""The comparison of what tests said before a change with what they say after it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Final

from keruta_agent.core.coding.model import SingleTestResult, TestCounts
from keruta_agent.runner.checks.results.report import Outcome, Report

#: Tests that a complaint names.
_MOST_NAMED: Final = 10
#: Failing tests that a result names.
_MOST_FAILING: Final = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandRun:
    """One run of a test command."""

    result: SingleTestResult
    #: What it said of its tests, None where that is not known.
    report: Report | None = None

    @property
    def has_no_tests(self) -> bool:
        """Whether the command ran to its end, and there were no tests for it to run."""
        report = self.report
        return report is not None and not report.ran and not report.count(Outcome.NOT_LOADED)

    @property
    def failing(self) -> frozenset[str]:
        """The names of the tests that failed, as far as they are known."""
        return frozenset(self.report.names(Outcome.FAILED) if self.report else ())


def counts(report: Report | None) -> TestCounts | None:
    """Return the numbers of a report, for a result."""
    if report is None:
        return None
    return TestCounts(
        framework=report.framework,
        passed=report.count(Outcome.PASSED),
        failed=report.count(Outcome.FAILED, Outcome.NOT_LOADED),
        skipped=report.count(Outcome.SKIPPED, Outcome.XFAILED),
        failing=sorted(report.names(Outcome.FAILED, Outcome.NOT_LOADED))[:_MOST_FAILING],
    )


def faults(before: CommandRun | None, now: CommandRun) -> list[str]:
    """Return why the outcome of a command is not accepted, whatever its exit code says.

    ``before`` is the same command before the change, None when it did not run then.
    """
    if now.report is None:
        known = before.report if before is not None else None
        if known is None or not known.ran or not now.result.success:
            return []
        return [f"the command ran no tests that are known of, and {known.ran} before the change"]
    if not now.report.ran and not (before is not None and before.has_no_tests):
        return ["the command ran 0 tests"] if now.result.success else []
    if before is None or before.report is None:
        return _hidden_failures(None, now)
    return [
        *_lost(before.report, now.report),
        *_fewer(before.report, now.report),
        *_hidden_failures(before, now),
    ]


def _lost(before: Report, now: Report) -> list[str]:
    """Return the tests that are no longer executed."""
    gone, skipped = [], []
    groups = _groups(now.outcomes)
    missing = collections.Counter(_group(name) for name in before.outcomes)
    for name, outcome in before.outcomes.items():
        if outcome not in (Outcome.PASSED, Outcome.FAILED):
            continue
        present = now.outcomes.get(name)
        if present in (Outcome.SKIPPED, Outcome.XFAILED):
            skipped.append(name)
        # Parameters may come from the code: what counts is how many there are.
        elif (
            present is None
            and now.is_complete
            and groups[_group(name)] < missing[_group(name)]
            and not now.count(Outcome.NOT_LOADED)
        ):
            gone.append(name)
    return [
        *([f"tests that ran before the change do not run now: {_listed(gone)}"] if gone else []),
        *([f"tests that ran before the change are skipped: {_listed(skipped)}"] if skipped else []),
    ]


def _fewer(before: Report, now: Report) -> list[str]:
    """Compare the numbers, where not all names are known."""
    if (before.is_complete and now.is_complete) or now.count(Outcome.NOT_LOADED):
        return []
    found = []
    if now.ran < before.ran:
        found.append(f"fewer tests ran than before the change: {now.ran}, before {before.ran}")
    for outcome in (Outcome.SKIPPED, Outcome.XFAILED):
        if now.count(outcome) > before.count(outcome) and now.ran <= before.ran:
            found.append(
                f"more tests are {outcome} than before the change: "
                f"{now.count(outcome)}, before {before.count(outcome)}"
            )
    return found


def _hidden_failures(before: CommandRun | None, now: CommandRun) -> list[str]:
    """Return the failures that the exit code does not tell of."""
    report = now.report
    if not now.result.success or report is None:
        return []
    failed = report.count(Outcome.FAILED, Outcome.NOT_LOADED)
    tolerated: frozenset[str] = frozenset()
    if before is not None and before.report is not None and before.result.success:
        # The command itself ignores failures, and did before the change.
        tolerated = before.failing
        failed -= before.report.count(Outcome.FAILED, Outcome.NOT_LOADED)
    names = sorted(now.failing - tolerated)
    if not names and failed <= 0:
        return []
    which = _listed(names) if names else f"{failed} of them"
    return [f"the command ended with exit code 0, and tests fail: {which}"]


def _group(name: str) -> str:
    return name.partition("[")[0]


def _groups(outcomes: Mapping[str, Outcome]) -> collections.Counter[str]:
    return collections.Counter(
        _group(name)
        for name, outcome in outcomes.items()
        if outcome in (Outcome.PASSED, Outcome.FAILED)
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
