"""The account of how far the tests of a run can be relied on: for result, commit and registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from keruta_agent.core.coding.model import TestResult, Verification
from keruta_agent.runner.checks.comparison import CommandRun
from keruta_agent.runner.checks.results.report import Outcome

if TYPE_CHECKING:
    from keruta_agent.runner.checks.trials import Trials

TESTED: Final = "tested"
UNTESTED: Final = "untested"
#: Trailers of the runner's commits.
_TESTS: Final = "Runner-Tests"
_CHANGED: Final = "Runner-Tests-Changed"
_NEW: Final = "Runner-New-Tests"
_FLAKY: Final = "Runner-Flaky"
_REVERTED: Final = "Runner-Reverted"
#: Characters of a trailer, and names in one.
_LONGEST: Final = 300
_MOST: Final = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found out about a change beside its tests' outcome."""

    reverted: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    new_tests: tuple[str, ...] = ()
    not_counted: tuple[str, ...] = ()


def of(findings: Findings, trials: Trials, result: TestResult | None) -> Verification:
    """Return the account."""
    is_tested = bool(trials.commands) and result is not None and bool(trials.last)
    return Verification(
        status=TESTED if is_tested else UNTESTED,
        basis=_basis(trials),
        baseline=[_said(run) for run in trials.before.values()],
        reverted=list(findings.reverted),
        allowed=[f"{text} (the task allows it)" for text in findings.allowed],
        new_tests=list(findings.new_tests),
        not_counted=list(findings.not_counted),
        flaky=list(trials.flaky),
    )


def _basis(trials: Trials) -> str:
    if not trials.commands:
        if trials.last:
            return "no test commands but those that the change itself brings"
        return "no test commands"
    return "; ".join(map(_said, trials.last))[:_LONGEST] or "the test commands did not run"


def _said(run: CommandRun) -> str:
    command = " ".join(run.result.command.split())[:80]
    report = run.report
    if report is None:
        return f"{command}: exit code {run.result.exit_code}, no tests are known of"
    numbers = ", ".join(
        f"{report.count(outcome)} {outcome}" for outcome in Outcome if report.count(outcome)
    )
    return f"{command}: {numbers or '0 tests'} ({report.framework})"


def trailers(account: Verification) -> list[str]:
    """Return the lines of a commit's message that tell of its tests."""
    return [f"{key}: {' '.join(text.split())[:_LONGEST]}" for key, text in _trailers(account)]


def _trailers(account: Verification) -> Iterator[tuple[str, str]]:
    if account.status == UNTESTED:
        yield _TESTS, f"UNTESTED, {account.basis}"
    else:
        yield _TESTS, account.basis
    named = (
        (_CHANGED, account.allowed),
        (_REVERTED, account.reverted),
        (_NEW, account.new_tests),
        (_FLAKY, account.flaky),
    )
    for key, texts in named:
        if texts:
            more = f" and {len(texts) - _MOST} more" if len(texts) > _MOST else ""
            yield key, ", ".join(text.splitlines()[0] for text in texts[:_MOST]) + more


def lines(account: Verification) -> Iterator[str]:
    """Yield what a person wants to know of it."""
    yield f"tests      {'UNTESTED: ' if account.status == UNTESTED else ''}{account.basis}"
    for what, texts in (
        ("taken back", account.reverted),
        ("allowed", account.allowed),
        ("new tests", account.new_tests),
        ("not counted", account.not_counted),
        ("flaky", account.flaky),
    ):
        for text in texts[:_MOST]:
            yield f"{what:10} {text.splitlines()[0]}"
