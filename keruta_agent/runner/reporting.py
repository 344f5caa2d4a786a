"""Reports on a run: to the Task Registry, to a person, and to the log."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keruta_agent.core import errors
from keruta_agent.core.coding.model import Artifact, TaskContext
from keruta_agent.core.redaction.redactor import Redactor

if TYPE_CHECKING:
    from keruta_agent.runner.services.task_registry import TaskRegistryClient

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A step of a run, for its observers."""

    #: Name for programs: slot, workspace, implement, check, commit, push, artifacts, end.
    name: str
    #: What a person reads.
    text: str
    #: How far the run is, in percent.
    percent: int


#: Hears of each step, and of each line of the log.
OnStep = Callable[[Step], None]
OnLine = Callable[[str], None]


def unheard(said: object) -> None:
    """Nobody listens."""


class Reporter:
    """What one run has to say. Everything passes the redactor."""

    def __init__(
        self,
        registry: TaskRegistryClient | None,
        context: TaskContext,
        runner_id: str,
        redactor: Redactor,
        *,
        on_step: OnStep = unheard,
        on_line: OnLine = unheard,
    ) -> None:
        self._registry = registry
        self._context = context
        self._runner_id = runner_id
        self._redactor = redactor
        self._on_step = on_step
        self._on_line = on_line
        #: Whether the registry failed: then only the end is reported, not each step.
        self._is_away = False
        self._percent = 0
        #: The step that the registry knows of.
        self._reported = ""
        self.lines: list[str] = []

    @property
    def log(self) -> str:
        """All that was said, as a text."""
        return "\n".join(self.lines) + "\n"

    def say(self, text: str) -> None:
        """Add a line to the run's log."""
        for line in self._redactor.redact(text).splitlines() or [""]:
            self.lines.append(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}")
            self._on_line(line)

    def step(self, name: str, text: str, percent: int) -> None:
        """Report what the run does now."""
        text = self._redactor.redact(text)
        # How far a run is never becomes less: another round is no step back.
        self._percent = max(self._percent, percent)
        self._on_step(Step(name=name, text=text, percent=self._percent))
        self.say(text)
        # How a run ends, the registry hears by an event of its own; how far an answer is, it is
        # not asked to keep.
        if name not in ("end", self._reported):
            self._reported = name
            facts = {"step": name, "text": text, "percent": self._percent}
            self.event("step_started", facts)

    def begin(self, branch: str) -> None:
        """Report that the work begins.

        Raises:
            RunnerError: the registry takes no report: then nothing is begun.
        """
        self._status("in_progress", {"branch_name": branch})
        if self._registry is not None:
            self._send_event("implementation_started", {"branch_name": branch})

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Add to the task's history, if that can be done now."""
        if self._registry is None or self._is_away:
            return
        try:
            self._send_event(kind, data)
        except errors.RunnerError as exc:
            self._is_away = True
            self.say(f"the Task Registry did not record {kind}: {exc}")

    def done(self, branch: str, artifacts: list[Artifact]) -> None:
        """Report that the task is done.

        Raises:
            RunnerError: the registry takes no report.
        """
        listed = [
            {"type": artifact.type.value, "uri": artifact.uri, "size_bytes": artifact.size_bytes}
            for artifact in artifacts
        ]
        self._status("done", {"branch_name": branch})
        if self._registry is not None:
            self._send_event("TaskCompleted", {"branch_name": branch, "artifacts": listed})

    def failed(self, error: Exception, *, is_stopped: bool, data: Mapping[str, Any]) -> None:
        """Report that the task failed or was stopped; only note a registry that is away."""
        facts = {
            "error_type": type(error).__name__,
            "error_message": self._redactor.redact(str(error)),
            **data,
        }
        try:
            self._status("cancelled" if is_stopped else "failed", facts)
            if self._registry is not None:
                self._send_event("TaskFailed", facts)
        except errors.RunnerError as exc:
            self.say(f"the Task Registry did not record the failure: {exc}")

    def _status(self, status: str, more: Mapping[str, Any]) -> None:
        if self._registry is None:
            return
        self._registry.update_task_status(self._context.task_id, status, self._facts(more))

    def _send_event(self, kind: str, data: Mapping[str, Any]) -> None:
        if self._registry is not None:
            self._registry.add_event(self._context.task_id, kind, self._facts(data))

    def _facts(self, more: Mapping[str, Any]) -> dict[str, Any]:
        known = {"runner_id": self._runner_id, "spec_name": self._context.spec_name}
        return dict(self._redactor.redact_object({**known, **more}))
