"""What the in-memory keruta API holds, and how tests fill it, break it and look at it."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from keruta_agent.core import errors, model
from keruta_agent.core.model import (
    ApiHealth,
    LogEntry,
    Script,
    ServerEvent,
    Session,
    StatusReport,
    Task,
    TaskStatus,
)

_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredArtifact:
    """A file as the double received it."""

    task_id: str
    relative_path: str
    content: bytes
    sha256: str
    content_type: str
    description: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """An error that a call is to end with."""

    error: Exception
    after_acting: bool


class ServerState:
    """The state of the in-memory server, with what tests do to it and what they look at."""

    def __init__(self, *, without: Sequence[str] = ()) -> None:
        """Begin empty; ``without`` names methods of the port that this server lacks.

        ``"progress"`` among them sends progress to the log, as servers without that route get it.
        """
        self.lock = threading.RLock()
        #: Names of the methods that this server lacks.
        self.lacking = set(without)
        #: Names of the port's methods in the order of their calls, failed ones included.
        self.calls: list[str] = []
        #: What ``health`` answers.
        self.health_answer = ApiHealth(healthy=True, detail="UP")
        #: Every state that was stored, in order over all tasks.
        self.status_writes: list[tuple[str, StatusReport]] = []
        self.sessions: dict[str, Session] = {}
        self.tasks: dict[str, Task] = {}
        #: Script routes' answers that differ from the task's own script.
        self.scripts: dict[str, Script] = {}
        self.prompts: dict[str, list[str]] = collections.defaultdict(list)
        #: Prompts whose answers are secret: (task, prompt).
        self.secret_prompts: list[tuple[str, str]] = []
        self.metrics: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
        self.progress: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
        self.artifacts: list[StoredArtifact] = []
        self._logs: dict[str, list[LogEntry]] = collections.defaultdict(list)
        self._answers: dict[str, str] = {}
        self._failures: dict[str, collections.deque[Failure]] = collections.defaultdict(
            collections.deque
        )
        #: What is to be fixed when a task fails that still runs, by its id.
        self._fix_requests: dict[str, tuple[str, str]] = {}
        self._events: list[tuple[str, ServerEvent]] = []
        self._changed = threading.Condition(self.lock)
        self._numbers = itertools.count(1)

    # What tests do to the server.

    def add_session(self, session_id: str = "", **fields: Any) -> Session:
        """File a session and return it."""
        with self.lock:
            number = next(self._numbers)
            session_id = session_id or f"{number:08x}-0000-4000-8000-000000000000"
            now = self._now(number)
            given: dict[str, Any] = {"id": session_id, "created_at": now, "updated_at": now}
            session = Session(**given | fields)
            self.sessions[session_id] = session
            return session

    def end_session(self, session_id: str, status: str = "COMPLETED") -> None:
        """Put a session into a state in which it takes no more tasks."""
        with self.lock:
            ended = dataclasses.replace(self.sessions[session_id], status=status)
            self.sessions[session_id] = ended
            self._publish(session_id, "session_update", {"status": status})

    def add_task(self, session_id: str, script: str = "", **fields: Any) -> Task:
        """File a task, younger than all before it, and return it."""
        with self.lock:
            number = next(self._numbers)
            now = self._now(number)
            given: dict[str, Any] = {
                "id": f"{number:08x}-0000-4000-8000-000000000001",
                "name": f"task {number}",
                "created_at": now,
                "updated_at": now,
            }
            task = Task(**given | fields, session_id=session_id, script=script)
            self.tasks[task.id] = task
            self._publish(session_id, "task_created", {"taskId": task.id})
            return task

    def set_status(self, task_id: str, status: TaskStatus) -> None:
        """Set a task's state without asking whether the move is legal, as another person would."""
        with self.lock:
            self.tasks[task_id] = dataclasses.replace(self._task(task_id), status=status)

    def release_claim(self, task_id: str) -> None:
        """Release a task that an agent has claimed, as another person would."""
        with self.lock:
            self.tasks[task_id] = dataclasses.replace(self._task(task_id), claimed_by=None)

    def answer_input(self, task_id: str, text: str) -> None:
        """Answer the open prompt of a task; a missing line end is added."""
        with self.lock:
            self._answers[task_id] = text if text.endswith("\n") else f"{text}\n"

    def publish(self, session_id: str, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Send an event to the listeners of a session."""
        with self.lock:
            self._publish(session_id, name, data or {})

    def fail_next(
        self, method: str, error: Exception, *, times: int = 1, after_acting: bool = False
    ) -> None:
        """Make the next calls of a method of the port raise this error.

        With ``after_acting`` the call is stored first: the answer was lost, not the request.
        """
        if not hasattr(self, method):
            raise ValueError(f"the port has no method {method!r}")
        with self.lock:
            failure = Failure(error=error, after_acting=after_acting)
            self._failures[method].extend([failure] * times)

    # What tests look at.

    def statuses(self, task_id: str) -> list[TaskStatus]:
        """Return the states that were stored for a task, in order."""
        with self.lock:
            return [report.status for task, report in self.status_writes if task == task_id]

    def logs(self, task_id: str) -> list[LogEntry]:
        """Return the log entries of a task, in order."""
        with self.lock:
            return list(self._logs[task_id])

    def log_text(self, task_id: str, source: str | None = None) -> str:
        """Return the messages of a task's log, a line each."""
        entries = self.logs(task_id)
        return "".join(
            f"{entry.message}\n" for entry in entries if source is None or entry.source == source
        )

    # What the methods of the port share.

    def _begin(self, method: str) -> Failure | None:
        self.calls.append(method)
        if method in self.lacking:
            raise errors.ApiUnsupported(f"The server has no {method}")
        waiting = self._failures[method]
        return waiting.popleft() if waiting else None

    def _task(self, task_id: str) -> Task:
        if task_id not in self.tasks:
            raise errors.ApiNotFound(f"There is no task {task_id}", status=404)
        return self.tasks[task_id]

    def _pending(self, session_ids: set[str]) -> list[Task]:
        return model.in_execution_order(
            [
                task
                for task in reversed(self.tasks.values())
                if task.session_id in session_ids and task.status is TaskStatus.PENDING
            ]
        )

    def _auto_fix(self, failed: Task, error_message: str, error_code: str) -> None:
        if failed.status is not TaskStatus.PENDING and not failed.status.is_terminal:
            self._fix_requests[failed.id] = (error_message, error_code)
            return
        if failed.status is not TaskStatus.FAILED:
            raise errors.ApiConflict(f"Task {failed.id} is {failed.status}", status=409)
        is_fix = failed.parameters.get("autoFix") is True
        root = str(failed.parameters["originalTaskId"]) if is_fix else failed.id
        depth = int(failed.parameters.get("fixCount", 0))
        made = [one for one in self.tasks.values() if one.parameters.get("originalTaskId") == root]
        if model.has_failed_so_before(failed.parameters, error_code, error_message):
            return
        if (
            depth >= model.MOST_AUTO_FIXES
            or len(made) >= model.MOST_AUTO_FIXES
            or not failed.script.strip()
        ):
            return
        self.add_task(
            failed.session_id,
            failed.script,
            name=model.auto_fix_title(failed.name),
            description=f"{failed.description}\n\n---\n{error_message}",
            priority=failed.priority,
            parent_task_id=failed.id,
            parameters=model.auto_fix_parameters(
                failed,
                root=root,
                fix_count=depth + 1,
                error_code=error_code,
                error_message=error_message,
            ),
        )

    def _open_task(self, task_id: str) -> Task:
        task = self._task(task_id)
        if task.status.is_terminal:
            raise errors.ApiConflict(f"Task {task_id} is {task.status}", status=409)
        return task

    def _change(self, task: Task, **fields: Any) -> Task:
        changed = dataclasses.replace(task, **fields, updated_at=self._now(next(self._numbers)))
        self.tasks[task.id] = changed
        data = {"taskId": task.id, "status": changed.status.value}
        self._publish(task.session_id, "task_update", data)
        return changed

    def _publish(self, session_id: str, name: str, data: Mapping[str, Any]) -> None:
        number = len(self._events) + 1
        payload = {"sessionId": session_id, "data": dict(data), "timestamp": number}
        event = ServerEvent(name=name, data=payload)
        self._events.append((session_id, event))
        self._changed.notify_all()

    @staticmethod
    def _now(number: int) -> datetime:
        """Return a time that grows with every change, whatever the clock of the machine does."""
        return _START + timedelta(seconds=number)
