"""The tests of a change."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from keruta_agent.core.coding.model import TaskContext, TestResult, Workspace
from keruta_agent.runner.checks import comparison
from keruta_agent.runner.checks.commands import CommandExecutor
from keruta_agent.runner.checks.comparison import CommandRun
from keruta_agent.runner.checks.detection import detect
from keruta_agent.runner.checks.results.reading import Results
from keruta_agent.runner.deadline import Deadline

#: By how much a file's date may be older than the moment at which it was written.
_CLOCK_NS: Final = 10_000_000


class TestRunner:
    """The runner of the tests that a task names, or that its project is known by."""

    __test__ = False  # its name makes pytest curious

    def __init__(
        self,
        command_executor: CommandExecutor | None = None,
        *,
        results: Results | None = None,
        limit_s: float | None = None,
    ) -> None:
        """Take what runs commands, what reads their reports, and the time of one command."""
        self.command_executor = command_executor or CommandExecutor()
        self._results = results
        self._limit_s = limit_s

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
        runs = list(
            self.run_commands(
                commands, workspace.path, deadline=deadline, fail_fast=task_context.fail_fast
            )
        )
        return TestResult(
            success=len(runs) >= len(commands) and all(run.result.success for run in runs),
            test_results=[run.result for run in runs],
            total_duration_seconds=time.monotonic() - began,
        )

    def run_commands(
        self,
        commands: Sequence[str],
        root: Path,
        *,
        deadline: Deadline,
        fail_fast: bool,
    ) -> Iterator[CommandRun]:
        """Run commands one after the other, as long as there is time; each when it is asked for."""
        for command in commands:
            if deadline.stop_reason() is not None:
                return
            run = self.run_command(command, root, deadline)
            yield run
            if fail_fast and not run.result.success:
                return

    def run_command(self, command: str, root: Path, deadline: Deadline) -> CommandRun:
        """Run one command, and read what it says of its tests."""
        left_s = deadline.left_s
        limit_s = left_s if self._limit_s is None else min(self._limit_s, left_s)
        if self._results is None:
            return CommandRun(
                result=self.command_executor.execute(
                    command, root, timeout_seconds=limit_s, deadline=deadline
                )
            )
        began_ns = time.time_ns() - _CLOCK_NS
        environment = self.command_executor.environment()
        asking = self._results.environment(environment, root)
        for variables in (asking, environment):
            result = self.command_executor.execute(
                command, root, timeout_seconds=limit_s, env=variables, deadline=deadline
            )
            if not self._results.is_refused(result):
                break
        report = self._results.read(result, root, began_ns)
        tests = comparison.counts(report)
        return CommandRun(result=dataclasses.replace(result, tests=tests), report=report)
