"""Playbooks: commands in a file that a run executes before the tests of a change."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from keruta_agent.core import errors
from keruta_agent.core.coding.model import Playbook, PlaybookStep, SingleTestResult
from keruta_agent.core.coding.record import Record
from keruta_agent.runner.checks import conditions
from keruta_agent.runner.checks.commands import CommandExecutor
from keruta_agent.runner.checks.substitution import substituted
from keruta_agent.runner.deadline import Deadline

_LARGEST: Final = 1024 * 1024
_DEFAULT: Final = {
    "install_deps": "Install dependencies",
    "lint_enabled": "Lint",
    "test_enabled": "Test",
    "build_enabled": "Build",
}


@dataclasses.dataclass(frozen=True)
class StepResult(Record):
    """What came of one step."""

    step_name: str
    success: bool
    stdout: str
    stderr: str
    exit_code: int
    duration_seconds: float
    skipped: bool = False
    attempts: int = 1
    command: str = ""


@dataclasses.dataclass(frozen=True)
class PlaybookResult(Record):
    """What came of a playbook."""

    playbook_name: str
    success: bool
    step_results: list[StepResult]
    total_duration_seconds: float


class PlaybookEngine:
    """The executor of playbooks."""

    def __init__(
        self,
        command_executor: CommandExecutor | None = None,
        *,
        secrets: tuple[str, ...] = (),
        hidden: tuple[str, ...] = (),
        on_step: Callable[[str], None] | None = None,
    ) -> None:
        """Take the executor of commands, and what none of them may see."""
        self._executor = command_executor or CommandExecutor(secrets=secrets, hidden=hidden)
        self._on_step = on_step

    def get_default_playbook(self) -> Playbook:
        """Return the one for tasks that name none: four steps that a task may switch on."""
        steps = [
            PlaybookStep(name=title, command=f"echo '{title}'", condition=f"{name} == true")
            for name, title in _DEFAULT.items()
        ]
        return Playbook("Default Task Playbook", steps, {"source": "default"})

    def load_playbook(self, path: Path) -> Playbook:
        """Read a playbook.

        Raises:
            PlaybookExecutionError: it is not there, or invalid.
        """
        path = Path(path)
        try:
            with path.open(encoding="utf-8") as file:
                text = file.read(_LARGEST)
        except FileNotFoundError:
            raise errors.PlaybookExecutionError(f"The playbook {path} was not found") from None
        except (OSError, UnicodeDecodeError) as exc:
            raise errors.PlaybookExecutionError(f"Cannot read the playbook {path}: {exc}") from exc
        try:
            document = YAML(typ="safe", pure=True).load(text)
        except (YAMLError, RecursionError) as exc:
            raise errors.PlaybookExecutionError(f"Cannot parse YAML of {path}: {exc}") from exc
        return _playbook(path, document)

    def load_playbook_or_default(self, path: Path | None = None) -> Playbook:
        """Return the playbook of a file, and the default one where that cannot be read."""
        try:
            return self.get_default_playbook() if path is None else self.load_playbook(path)
        except errors.PlaybookExecutionError:
            return self.get_default_playbook()

    def execute_playbook(
        self,
        playbook: Playbook,
        context: Mapping[str, Any],
        cwd: Path,
        *,
        deadline: Deadline | None = None,
    ) -> PlaybookResult:
        """Run the steps whose conditions hold; a failed step with ``fail_fast`` is the last.

        Raises:
            PlaybookExecutionError: a condition is invalid.
        """
        began = time.monotonic()
        results: list[StepResult] = []
        for step in playbook.steps:
            if deadline is not None and deadline.stop_reason() is not None:
                results.append(_not_run(step, success=False, stderr=str(deadline.stop_reason())))
                break
            if step.condition is not None and not conditions.holds(step.condition, context):
                results.append(_not_run(step, success=True))
                continue
            results.append(self._run(step, context, cwd, deadline))
            if step.fail_fast and not results[-1].success:
                break
        return PlaybookResult(
            playbook_name=playbook.name,
            success=all(result.success for result in results),
            step_results=results,
            total_duration_seconds=time.monotonic() - began,
        )

    def _run(
        self, step: PlaybookStep, context: Mapping[str, Any], cwd: Path, deadline: Deadline | None
    ) -> StepResult:
        if self._on_step is not None:
            self._on_step(step.name)
        command, variables = substituted(step.command, context)
        environment = self._executor.environment() | variables
        attempts = 0
        while True:
            attempts += 1
            result = self._executor.execute(
                command,
                cwd,
                timeout_seconds=step.timeout_seconds,
                env=environment,
                deadline=deadline,
            )
            is_over = deadline is not None and deadline.stop_reason() is not None
            if result.success or attempts > step.retry_count or is_over:
                return _result(step, result, attempts)


def _result(step: PlaybookStep, result: SingleTestResult, attempts: int) -> StepResult:
    return StepResult(
        step_name=step.name,
        success=result.success,
        stdout=result.stdout,
        stderr=result.stderr,
        exit_code=result.exit_code,
        duration_seconds=result.duration_seconds,
        attempts=attempts,
        command=step.command,
    )


def _not_run(step: PlaybookStep, *, success: bool, stderr: str = "") -> StepResult:
    return StepResult(
        step_name=step.name,
        success=success,
        stdout="",
        stderr=stderr,
        exit_code=0 if success else -1,
        duration_seconds=0.0,
        skipped=True,
        attempts=0,
        command=step.command,
    )


def _playbook(path: Path, document: Any) -> Playbook:
    if not isinstance(document, dict) or not document.get("name"):
        raise errors.PlaybookExecutionError(
            f"The playbook {path} has no name", advice="Begin it with: name: ..."
        )
    metadata = document.get("metadata") or {}
    try:
        playbook = Playbook.from_dict({**document, "metadata": metadata})
    except errors.TaskContextValidationError as exc:
        raise errors.PlaybookExecutionError(f"The playbook {path} is wrong: {exc}") from exc
    for step in playbook.steps:
        if not step.name or not step.command or step.timeout_seconds <= 0 or step.retry_count < 0:
            raise errors.PlaybookExecutionError(
                f"The step {step.name!r} of the playbook {path} is wrong",
                advice="It needs a name and a command, timeout_seconds > 0, retry_count >= 0",
            )
        if step.condition is not None:
            conditions.check(step.condition)
    origin = {"source": "file", "file_path": str(path)}
    return dataclasses.replace(playbook, metadata={**playbook.metadata, **origin})
