"""The checks of one answer of the model: the playbook's steps, then the tests, in the workspace.

Beside the verdict this keeps the tree that was checked, which is what will be committed: whatever
the commands leave behind, caches and test files, or even commits, is not part of it. Nor is what
the change makes of the tests that decide about it.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, Final

from keruta_agent.core import errors
from keruta_agent.core.coding.model import (
    Playbook,
    SingleTestResult,
    TaskContext,
    TestResult,
    Verification,
    Workspace,
)
from keruta_agent.runner.checks import verification
from keruta_agent.runner.checks.deciding import Deciding, Judged
from keruta_agent.runner.checks.trials import Trials
from keruta_agent.runner.checks.verification import Findings

if TYPE_CHECKING:
    from keruta_agent.runner.checks.guard import Guard
    from keruta_agent.runner.checks.playbooks import PlaybookEngine, StepResult
    from keruta_agent.runner.deadline import Deadline
    from keruta_agent.runner.reporting import Reporter
    from keruta_agent.runner.workspace.workspaces import WorkspaceManager

#: What a round adds to the progress, and where the rounds begin, in percent.
_BEGIN, _ROUND, _END = 25, 15, 70

_NOTHING_LEFT: Final = (
    "nothing is left of the change: all of it was about the tests, which are not to be changed"
)


@dataclasses.dataclass(kw_only=True)
class Checks:
    """The checks of one run, and what they said last."""

    context: TaskContext
    workspace: Workspace
    workspaces: WorkspaceManager
    trials: Trials
    deciding: Deciding
    playbooks: PlaybookEngine
    playbook: Playbook | None
    guard: Guard
    deadline: Deadline
    reporter: Reporter
    last: TestResult | None = None
    #: The tree that was checked last, also when its tests failed.
    tree: str | None = None
    #: Which answer is checked; 0 for what was there before the first.
    round: int = 0
    #: What the tests say before the first change, once they have run.
    baseline: TestResult | None = None
    findings: Findings = dataclasses.field(default_factory=Findings)

    def run_baseline(self) -> None:
        """Run the tests before the first change.

        Raises:
            HangingTestsError: a command does not end.
            RunnerError: as ``run``.
        """
        result = self._checked()
        hanging = next((single for single in result.test_results if single.timed_out), None)
        if hanging is not None:
            raise errors.HangingTestsError(
                f"The tests hang before any change: {hanging.command!r} took longer than "
                f"{hanging.duration_seconds:.0f} s",
                advice="Mend the command, give it more time (runner.test_timeout), or leave out "
                "this first run (metadata.baseline: false)",
            )
        self.baseline = result

    def run(self, task_context: TaskContext, workspace: Workspace) -> TestResult:
        """Check the current work tree, and return the commands' output.

        Raises:
            SecurityError: a command changed how git behaves here.
            RunnerError: git fails, or the run has to end.
        """
        if self.round == 0 and self.baseline is not None:
            return self.baseline
        return self._checked()

    def run_alone(self, command: str) -> SingleTestResult:
        """Run one test command for the model to see; what it leaves behind is taken away.

        Raises:
            SecurityError: it is none of the task's commands, or changed how git behaves here.
            RunnerError: git fails, or the run has to end.
        """
        if command not in self.trials.commands:
            raise errors.SecurityError(f"{command[:80]!r} is none of the test commands")
        self.reporter.say(f"the model runs: {command}")
        tree = self.workspaces.stage(self.workspace)
        result = self.trials.run_alone(command)
        self.workspaces.restore(self.workspace, tree)
        self.deadline.check()
        return result

    def verification(self) -> Verification:
        """Return how far the tests of what was checked last can be relied on."""
        return verification.of(self.findings, self.trials, self.last)

    def _checked(self) -> TestResult:
        began = time.monotonic()
        what = f"tests the change of round {self.round}" if self.round else "tests what is there"
        percent = min(_END, _BEGIN + _ROUND * self.round)
        self.reporter.step("check", what, percent)
        self.tree = self.workspaces.stage(self.workspace)
        results = self._play()
        is_played = all(result.success for result in results)
        # Noted before anything is done about what the commands did to the repository: that they
        # broke it is best seen by what they said.
        self.last = _result(results, is_played, began)
        if self.playbook is not None:
            self.guard.check()
            # What it changes in known files belongs to the change.
            self.tree = self.workspaces.stage(self.workspace, only_known=True)
        judged = self._judged(self.tree)
        reverted = list(judged.reverted)
        if is_played and self.round and reverted and self.tree == self.deciding.base:
            self.last = _result(results, False, began, faults=[_NOTHING_LEFT], reverted=reverted)
        elif is_played:
            self._run_tests(judged, results, began)
        self.guard.check()
        self.workspaces.restore(self.workspace, self.tree)
        self._report(self.last)
        self.deadline.check()
        return self.last

    def _judged(self, proposed: str) -> Judged:
        """Take back what of a tree the change has no say in."""
        judged = self.deciding.judge(proposed)
        self.findings = dataclasses.replace(
            self.findings,
            reverted=tuple(dict.fromkeys([*self.findings.reverted, *judged.reverted])),
            allowed=judged.allowed,
            new_tests=(),
            not_counted=(),
        )
        if judged.tree != proposed:
            self.workspaces.switch(self.workspace, judged.tree)
            self.tree = judged.tree
            for text in judged.reverted:
                self.reporter.say(f"taken back: {text}")
            self.reporter.event(
                "changes_reverted", {"round": self.round, "files": list(judged.reverted)}
            )
        return judged

    def _run_tests(self, judged: Judged, results: list[SingleTestResult], began: float) -> None:
        """Run the tests, and note what came of them, also when that raises."""
        reverted = list(judged.reverted)
        try:
            verdict = self.trials.decide(judged, is_baseline=self.round == 0)
        except BaseException:
            said = [run.result for run in self.trials.last]
            self.last = _result([*results, *said], False, began, reverted=reverted)
            raise
        self.last = _result(
            *([*results, *verdict.results], verdict.success, began),
            faults=verdict.faults,
            reverted=reverted,
        )
        self.guard.check()
        if verdict.success and judged.new_tests:
            counted = self.trials.count_new_tests(judged)
            self.findings = dataclasses.replace(
                self.findings, new_tests=counted.counted, not_counted=counted.not_counted
            )
        if self.trials.flaky:
            self.reporter.event("tests_flaky", {"tests": list(self.trials.flaky)})

    def _play(self) -> list[SingleTestResult]:
        """Execute the playbook."""
        if self.playbook is None:
            return []
        result = self.playbooks.execute_playbook(
            self.playbook,
            playbook_values(self.context),
            self.workspace.path,
            deadline=self.deadline,
        )
        return [_as_test(step) for step in result.step_results if not step.skipped]

    def _report(self, result: TestResult) -> None:
        passed = sum(single.success for single in result.test_results)
        count = len(result.test_results)
        verdict = "pass" if result.success else "fail"
        self.reporter.say(f"round {self.round}: the tests {verdict} ({passed} of {count} commands)")
        for fault in result.faults:
            self.reporter.say(f"not accepted: {fault}")
        self.reporter.event(
            "tests_run",
            {
                "round": self.round,
                "success": result.success,
                "commands": count,
                "passed": passed,
                "faults": list(result.faults),
            },
        )


def _result(
    results: list[SingleTestResult],
    success: bool,
    began: float,
    *,
    faults: list[str] | None = None,
    reverted: list[str] | None = None,
) -> TestResult:
    return TestResult(
        success=success,
        test_results=results,
        total_duration_seconds=time.monotonic() - began,
        faults=faults or [],
        reverted=reverted or [],
    )


def playbook_values(context: TaskContext) -> dict[str, Any]:
    """Return what conditions and ``${name}`` of a playbook may use."""
    plain = str | int | float | bool
    extra = {name: value for name, value in context.metadata.items() if isinstance(value, plain)}
    # An address may hold a password.
    extra.pop("repo_url", None)
    return extra | {
        "task_id": context.task_id,
        "spec_name": context.spec_name,
        "title": context.title,
        "description": context.description,
        "branch_name": context.branch_name,
        "required_skill": context.required_skill,
        "complexity": context.complexity,
    }


def _as_test(step: StepResult) -> SingleTestResult:
    return SingleTestResult(
        command=f"{step.step_name}: {step.command}",
        success=step.success,
        stdout=step.stdout,
        stderr=step.stderr,
        exit_code=step.exit_code,
        duration_seconds=step.duration_seconds,
    )
