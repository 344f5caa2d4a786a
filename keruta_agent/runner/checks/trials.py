"""The runs of the tests that decide about a change.

Up to four of them: before the change; with it; with it and without its new tests, which run in the
processes of the others and could make them pass; and of the new tests without the change.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from keruta_agent.core.coding.model import SingleTestResult, TaskContext, Workspace
from keruta_agent.runner.checks import comparison
from keruta_agent.runner.checks.comparison import CommandRun
from keruta_agent.runner.checks.detection import detect
from keruta_agent.runner.checks.results.report import Outcome

if TYPE_CHECKING:
    from keruta_agent.runner.checks.deciding import Deciding, Judged
    from keruta_agent.runner.checks.guard import Guard
    from keruta_agent.runner.checks.testing import TestRunner
    from keruta_agent.runner.deadline import Deadline
    from keruta_agent.runner.workspace.workspaces import WorkspaceManager

#: Names of tests that a result lists.
MOST_LISTED: Final = 50
#: How often a command that fails before the change could run in the time that is left, for it to
#: be run twice then: most of the time is for the change.
_REPEATS: Final = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the tests say of a change."""

    success: bool
    results: list[SingleTestResult]
    faults: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewTests:
    """New tests that fail without the change, and those that do not, or are not known to."""

    counted: tuple[str, ...] = ()
    not_counted: tuple[str, ...] = ()


@dataclasses.dataclass(kw_only=True)
class Trials:
    """The runs of one task's tests."""

    context: TaskContext
    workspace: Workspace
    workspaces: WorkspaceManager
    tests: TestRunner
    deciding: Deciding
    guard: Guard
    deadline: Deadline
    #: The commands of the task, or of the base; without any, those that a change brings.
    commands: tuple[str, ...]
    #: By command, what it came to before the change.
    before: dict[str, CommandRun] = dataclasses.field(default_factory=dict)
    #: What ended differently on the same files.
    flaky: list[str] = dataclasses.field(default_factory=list)
    #: The runs that decided last, or the present ones as far as they have come.
    last: list[CommandRun] = dataclasses.field(default_factory=list)
    #: Those without the change's new tests.
    _plain: list[CommandRun] = dataclasses.field(default_factory=list)
    #: Files that git does not know and that were there before the change.
    _strays: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Note what lies in the workspace before the change."""
        _, strays = self._altered()
        self._strays = frozenset(strays)

    def decide(self, judged: Judged, *, is_baseline: bool) -> Verdict:
        """Run the tests of a tree that lies in the workspace.

        Before the change nothing is compared, and each command runs, whether others fail or not.
        """
        if is_baseline:
            self._run(fail_fast=False)
            self.before = {run.result.command: run for run in self.last}
            self.guard.check()
            for run in self.last:
                self._look_again(run)
            self.begin()
            return self._verdict(self.last, [])
        self._run(again=True)
        verdict = self._verdict(self.last, self._faults(self.last))
        if not verdict.success or not judged.new_tests:
            return verdict
        return self._without_new_tests(judged, verdict)

    def run_alone(self, command: str) -> SingleTestResult:
        """Run one command on what lies in the workspace; nothing is decided by it.

        Raises:
            SecurityError: it changed how git behaves here.
        """
        self._clear()
        result = self.tests.run_command(command, self.workspace.path, self.deadline).result
        self.guard.check()
        self._clear()
        return result

    def count_new_tests(self, judged: Judged) -> NewTests:
        """Find which new tests fail without the change."""
        took_s = sum(run.result.duration_seconds for run in self.last)
        files = judged.new_tests
        if self.deadline.left_s < 2 * took_s:
            return NewTests(not_counted=_listed(files, "no time was left to run it on the base"))
        with_change = self.last
        with self._switched(judged.base_with_new, judged.tree):
            on_base = self._run(fail_fast=False)
        self.last = with_change
        names = _names(with_change) - _names(self._plain)
        if not names:
            failed_before = any(not run.result.success for run in self.before.values())
            if not self.before or failed_before or not on_base:
                return NewTests(not_counted=_listed(files, "what it does on the base is not known"))
            if all(run.result.success for run in on_base):
                return NewTests(not_counted=_listed(files, "passes without the change, too"))
            return NewTests(counted=files[:MOST_LISTED])
        passing = names & _names(on_base, Outcome.PASSED, Outcome.SKIPPED, Outcome.XFAILED)
        good = names & _names(with_change, Outcome.PASSED)
        counted = sorted(good - passing)[:MOST_LISTED]
        rest = sorted(names - set(counted))
        return NewTests(
            counted=tuple(counted),
            not_counted=_listed(rest, "does not fail without the change"),
        )

    def _without_new_tests(self, judged: Judged, verdict: Verdict) -> Verdict:
        """Run the base's tests alone, as new ones may reach into them."""
        with_new = self.last
        with self._switched(judged.without_new, judged.tree):
            self._plain = self._run(again=True)
        alone = self._verdict(self._plain, self._faults(self._plain))
        self.last = with_new
        if alone.success:
            return verdict
        told = ", ".join(judged.new_tests[:5])
        faults = alone.faults or ["the tests of the base fail"]
        return dataclasses.replace(
            alone, faults=[f"without the new tests ({told}): {fault}" for fault in faults]
        )

    @contextlib.contextmanager
    def _switched(self, tree: str, back: str) -> Iterator[None]:
        self.guard.check()
        self.workspaces.switch(self.workspace, tree)
        yield
        self.guard.check()
        self.workspaces.switch(self.workspace, back)

    def _run(self, *, fail_fast: bool | None = None, again: bool = False) -> list[CommandRun]:
        runs = self.last = []
        found = self.tests.run_commands(
            self._commands(),
            self.workspace.path,
            deadline=self.deadline,
            fail_fast=self.context.fail_fast if fail_fast is None else fail_fast,
        )
        self._clear()
        for run in found:
            runs.append(run)
            # Before git looks at what the command has left.
            self.guard.check()
            runs[-1] = self._again(run) if again else run
            self._clear()
        return runs

    def _commands(self) -> tuple[str, ...]:
        if self.commands or self.context.test_commands is not None:
            return self.commands
        return tuple(detect(self.workspace.path))

    def _verdict(self, runs: list[CommandRun], faults: list[str]) -> Verdict:
        is_complete = len(runs) >= len(self._commands())
        has_succeeded = all(run.result.success for run in runs)
        return Verdict(
            success=is_complete and has_succeeded and not faults,
            results=[run.result for run in runs],
            faults=faults,
        )

    def _faults(self, runs: list[CommandRun]) -> list[str]:
        return [
            f"{run.result.command}: {fault}"
            for run in runs
            for fault in comparison.faults(self.before.get(run.result.command), run)
        ]

    def _again(self, run: CommandRun) -> CommandRun:
        """Run a command again that fails where it did not before the change, or not always."""
        before = self.before.get(run.result.command)
        if run.result.success or run.result.timed_out or before is None:
            return run
        new = run.failing - (before.failing - frozenset(self.flaky))
        is_of_command = before.result.success or run.result.command in self.flaky
        if not (new or (is_of_command and not run.failing)):
            return run
        if self.deadline.left_s < 2 * run.result.duration_seconds:
            return run
        self._clear()
        return self._repeat(run)

    def _look_again(self, run: CommandRun) -> None:
        """Find out whether a command always fails that failed before the change.

        What it said first stands: that is what somebody wants to be mended.
        """
        if run.result.success or run.result.timed_out:
            return
        if self.deadline.left_s < _REPEATS * run.result.duration_seconds:
            return
        self._repeat(run)
        self.guard.check()
        self._clear()

    def _repeat(self, run: CommandRun) -> CommandRun:
        """Run a command once more, and note what ends differently."""
        second = self.tests.run_command(run.result.command, self.workspace.path, self.deadline)
        flipped = sorted(run.failing ^ second.failing) if second.report or run.report else []
        if not flipped and second.result.success:
            flipped = [run.result.command]
        self.flaky += [name for name in flipped if name not in self.flaky][:MOST_LISTED]
        return second

    def _clear(self) -> None:
        """Take out what a command has made of what decides about it."""
        changed, strays = self._altered()
        if changed:
            self.workspaces.put_back(self.workspace, changed)
        for path in set(strays) - self._strays:
            with contextlib.suppress(OSError):
                (self.workspace.path / path).unlink()

    def _altered(self) -> tuple[list[str], list[str]]:
        known, others = self.workspaces.altered(self.workspace)
        return (
            [path for path in known if self.deciding.decides(path)],
            [path for path in others if self.deciding.is_stray(path)],
        )


def _names(runs: list[CommandRun], *which: Outcome) -> set[str]:
    wanted = which or tuple(Outcome)
    return {name for run in runs if run.report for name in run.report.names(*wanted)}


def _listed(names: tuple[str, ...] | list[str], why: str) -> tuple[str, ...]:
    return tuple(f"{name}: {why}" for name in names[:MOST_LISTED])
