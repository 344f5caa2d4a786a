"""The checks of one answer of the model: the playbook's steps, then the tests, in the workspace.

Beside the verdict this keeps the tree that was checked, which is what will be committed: whatever
the commands leave behind, caches and test files, or even commits, is not part of it.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from keruta_agent.core.coding.model import (
    Playbook,
    SingleTestResult,
    TaskContext,
    TestResult,
    Workspace,
)

if TYPE_CHECKING:
    from keruta_agent.runner.checks.guard import Guard
    from keruta_agent.runner.checks.playbooks import PlaybookEngine, StepResult
    from keruta_agent.runner.checks.testing import TestRunner
    from keruta_agent.runner.deadline import Deadline
    from keruta_agent.runner.reporting import Reporter
    from keruta_agent.runner.workspace.workspaces import WorkspaceManager

#: What a round adds to the progress, and where the rounds begin, in percent.
_BEGIN, _ROUND, _END = 25, 15, 70


@dataclasses.dataclass(kw_only=True)
class Checks:
    """The checks of one run, and what they said last."""

    context: TaskContext
    workspace: Workspace
    workspaces: WorkspaceManager
    tests: TestRunner
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

    def run(self, task_context: TaskContext, workspace: Workspace) -> TestResult:
        """Check the current work tree, and return the commands' output.

        Raises:
            SecurityError: a command changed how git behaves here.
            RunnerError: git fails, or the run has to end.
        """
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
        if is_played:
            tested = self.tests.run_tests(self.context, self.workspace, deadline=self.deadline)
            self.last = _result([*results, *tested.test_results], tested.success, began)
        self.guard.check()
        self.workspaces.restore(self.workspace, self.tree)
        self._report(self.last)
        self.deadline.check()
        return self.last

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
        self.reporter.event(
            "tests_run",
            {"round": self.round, "success": result.success, "commands": count, "passed": passed},
        )


def _result(results: list[SingleTestResult], success: bool, began: float) -> TestResult:
    return TestResult(
        success=success,
        test_results=results,
        total_duration_seconds=time.monotonic() - began,
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
