"""The tests of a change."""

from __future__ import annotations

import time

from keruta_agent.core.coding.model import SingleTestResult, TaskContext, TestResult, Workspace
from keruta_agent.runner.checks.commands import CommandExecutor
from keruta_agent.runner.checks.detection import detect
from keruta_agent.runner.deadline import Deadline


class TestRunner:
    """The runner of the tests that a task names, or that its project is known by."""

    __test__ = False  # its name makes pytest curious

    def __init__(self, command_executor: CommandExecutor | None = None) -> None:
        self.command_executor = command_executor or CommandExecutor()

    def run_tests(
        self, task_context: TaskContext, workspace: Workspace, *, deadline: Deadline | None = None
    ) -> TestResult:
        """Run the tests and return what they said; no tests at all is a success.

        Each command may take the time that is left of the task's ``timeout_seconds``. With
        ``fail_fast`` the first failure is the last command.
        """
        deadline = deadline or Deadline(task_context.timeout_seconds)
        began = time.monotonic()
        commands = task_context.test_commands
        if commands is None:
            commands = detect(workspace.path)
        results: list[SingleTestResult] = []
        for command in commands:
            if deadline.stop_reason() is not None:
                break
            result = self.command_executor.execute(
                command, workspace.path, timeout_seconds=deadline.left_s, deadline=deadline
            )
            results.append(result)
            if not result.success and task_context.fail_fast:
                break
        return TestResult(
            success=len(results) >= len(commands) and all(result.success for result in results),
            test_results=results,
            total_duration_seconds=time.monotonic() - began,
        )
