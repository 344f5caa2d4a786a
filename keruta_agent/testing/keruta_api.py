"""The port's methods on top of the in-memory state."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from keruta_agent.core import errors, model
from keruta_agent.core.model import (
    AgentIdentity,
    ApiCalls,
    ApiHealth,
    ArtifactFile,
    LogEntry,
    LogLevel,
    Registration,
    Script,
    ServerEvent,
    Session,
    StatusReport,
    Task,
    TaskStatus,
)
from keruta_agent.core.pending import PendingTasks
from keruta_agent.testing.agents import AgentRegister, check_claim
from keruta_agent.testing.state import ServerState, StoredArtifact

#: How soon a listener notices that it is to stop.
_STOP_TICK_S = 0.02

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _call(
    method: Callable[Concatenate[InMemoryKerutaApi, _Parameters], _Result],
) -> Callable[Concatenate[InMemoryKerutaApi, _Parameters], _Result]:
    """Record a call of the port, lets it fail when a test wants it to, one call at a time."""
    name = method.__name__

    @functools.wraps(method)
    def called(
        self: InMemoryKerutaApi, /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        with self.lock:
            failure = self._begin(name)
            if failure is not None and not failure.after_acting:
                raise failure.error
            result = method(self, *args, **kwargs)
            if failure is not None:
                raise failure.error
            return result

    return called


class InMemoryKerutaApi(ServerState):
    """``ports.KerutaApi`` without a network; safe to be used by several threads at once."""

    def __init__(self, *, without: Sequence[str] = ()) -> None:
        super().__init__(without=without)
        self.agents = AgentRegister()
        #: Claims that were made: (task, agent, run).
        self.claims: list[tuple[str, str, str]] = []
        #: First results by method, what it was about, and idempotency key.
        self._results: dict[tuple[str, str, str], object] = {}

    @_call
    def session(self, session_id: str) -> Session:
        """Return a session by its complete id."""
        if session_id not in self.sessions:
            raise errors.ApiNotFound(f"There is no session {session_id}", status=404)
        return self.sessions[session_id]

    @_call
    def sessions_by_partial_id(self, partial_id: str) -> list[Session]:
        """Return the sessions whose id begins with this."""
        wanted = partial_id.lower()
        return [one for one in self.sessions.values() if one.id.lower().startswith(wanted)]

    @_call
    def sessions_by_name(self, name: str) -> list[Session]:
        """Return the sessions whose name is exactly this."""
        return [session for session in self.sessions.values() if session.name == name]

    @_call
    def all_sessions(self) -> list[Session]:
        """Return all sessions."""
        return list(self.sessions.values())

    @_call
    def session_by_workspace(self, workspace_id: str) -> Session:
        """Return the newest session of a workspace, one that has not ended if there is any."""
        served = [
            one for one in reversed(self.sessions.values()) if one.workspace_id == workspace_id
        ]
        for session in [one for one in served if not one.has_ended] or served:
            return session
        raise errors.ApiNotFound(f"No session serves workspace {workspace_id}", status=404)

    @_call
    def pending_tasks(self, session_id: str) -> PendingTasks:
        """Return the session's PENDING tasks."""
        if session_id not in self.sessions:
            raise errors.ApiNotFound(f"There is no session {session_id}", status=404)
        return PendingTasks.of(reversed(self._pending({session_id})))

    @_call
    def workspace_pending_tasks(self, workspace_id: str) -> list[Task]:
        """Return the PENDING tasks of a workspace's open sessions in execution order."""
        open_sessions = [one for one in self.sessions.values() if not one.has_ended]
        return self._pending({one.id for one in open_sessions if one.workspace_id == workspace_id})

    @_call
    def task(self, task_id: str) -> Task:
        """Return a task."""
        return self._task(task_id)

    @_call
    def script(self, task_id: str) -> Script:
        """Return what the task wants executed."""
        task = self._task(task_id)
        return self.scripts.get(task_id) or Script(content=task.script, parameters=task.parameters)

    @_call
    def write_status(self, task_id: str, report: StatusReport, *, key: str) -> Task:
        """Write a task's state once and return the task."""

        def act() -> Task:
            task = self._task(task_id)
            if report.status is task.status and task.status.is_terminal:
                # The first word on how a task ended stands.
                return task
            if (
                report.status is not task.status
                and report.status not in model.TASK_MOVES[task.status]
            ):
                raise errors.ApiConflict(
                    f"Task {task_id} is {task.status} and cannot become {report.status}",
                    status=409,
                )
            if task.status is TaskStatus.WAITING_FOR_INPUT is not report.status:
                self._answers.pop(task_id, None)
            self.status_writes.append((task_id, report))
            changed = self._change(
                task,
                status=report.status,
                message=report.message,
                progress=report.progress,
                error_code=report.error_code,
            )
            if report.status.is_terminal:
                request = self._fix_requests.pop(task_id, None)
                if request is not None and report.status is TaskStatus.FAILED:
                    self._auto_fix(changed, *request)
            return changed

        return self._once("write_status", task_id, key, act)

    @_call
    def send_logs(self, task_id: str, entries: Sequence[LogEntry], *, key: str) -> int:
        """Store log entries in order and return how many."""

        def act() -> int:
            self._task(task_id)
            self._logs[task_id] += entries
            return len(entries)

        return self._once("send_logs", task_id, key, act)

    @_call
    def send_progress(self, task_id: str, percent: int, message: str, *, key: str) -> None:
        """Store the progress; as a log line where the server lacks ``progress``."""

        def act() -> None:
            if "progress" in self.lacking:
                self._task(task_id)
                line = f"progress {percent}%: {message}" if message else f"progress {percent}%"
                entry = LogEntry(level=LogLevel.INFO, message=line, source="agent")
                self._logs[task_id].append(entry)
                return
            task = self._open_task(task_id)
            self.progress[task_id].append((percent, message))
            self._change(task, progress=percent, message=message or task.message)

        self._once("send_progress", task_id, key, act)

    @_call
    def send_metrics(self, task_id: str, metrics: Mapping[str, Any], *, key: str) -> None:
        """Store measurements of a run."""

        def act() -> None:
            self._task(task_id)
            self.metrics[task_id].append(dict(metrics))

        self._once("send_metrics", task_id, key, act)

    @_call
    def upload_artifact(self, task_id: str, artifact: ArtifactFile, *, key: str) -> None:
        """Store the file's content."""

        def act() -> None:
            self._task(task_id)
            try:
                content = artifact.file.read_bytes()
            except FileNotFoundError as exc:
                raise errors.NotFound(f"The artifact {artifact.file} is gone") from exc
            if hashlib.sha256(content).hexdigest() != artifact.sha256:
                raise errors.AgentStateError(
                    f"The artifact {artifact.file} was changed since it was recorded"
                )
            self.artifacts.append(
                StoredArtifact(
                    task_id=task_id,
                    relative_path=artifact.relative_path,
                    content=content,
                    sha256=artifact.sha256,
                    content_type=artifact.content_type,
                    description=artifact.description,
                )
            )

        self._once("upload_artifact", task_id, key, act)

    @_call
    def request_auto_fix(
        self, task_id: str, *, error_message: str, error_code: str, key: str
    ) -> None:
        """Create the auto-fix task of a failed task, unless a limit is reached."""
        self._once(
            "request_auto_fix",
            task_id,
            key,
            lambda: self._auto_fix(self._task(task_id), error_message, error_code),
        )

    @_call
    def subtasks(self, task_id: str) -> list[Task]:
        """Return the tasks whose parent this is, newest first."""
        self._task(task_id)
        return [one for one in reversed(self.tasks.values()) if one.parent_task_id == task_id]

    @_call
    def create_subtask(self, parent_id: str, task: Task, *, key: str) -> Task:
        """Create a task under a parent."""

        def act() -> Task:
            parent = self._task(parent_id)
            return self._created(task, session_id=parent.session_id, parent_task_id=parent_id)

        return self._once("create_subtask", parent_id, key, act)

    @_call
    def create_task(self, task: Task, *, key: str) -> Task:
        """Create a task in ``task.session_id``."""
        return self._once(
            "create_task",
            task.session_id,
            key,
            lambda: self._created(
                task, session_id=task.session_id, parent_task_id=task.parent_task_id
            ),
        )

    @_call
    def request_input(
        self, task_id: str, prompt: str, *, secret: bool = False, key: str
    ) -> str | None:
        """Open a prompt and return its id; an answer to an earlier one is forgotten."""

        def act() -> str:
            self._open_task(task_id)
            self.prompts[task_id].append(prompt)
            if secret:
                self.secret_prompts.append((task_id, prompt))
            self._answers.pop(task_id, None)
            return str(len(self.prompts[task_id]))

        return self._once("request_input", task_id, key, act)

    @_call
    def poll_input(self, task_id: str, question_id: str | None = None) -> str | None:
        """Return the answer to the open prompt, once without an id; None while there is none."""
        self._task(task_id)
        if question_id is None:
            return self._answers.pop(task_id, None)
        is_newest = question_id == str(len(self.prompts[task_id]))
        return self._answers.get(task_id) if is_newest else None

    @_call
    def register_agent(
        self, agent: AgentIdentity, session_id: str, *, lease_s: float
    ) -> Registration:
        """Register an agent or renews its lease."""
        if session_id not in self.sessions:
            raise errors.ApiNotFound(f"There is no session {session_id}", status=404)
        return self.agents.register(agent, session_id, lease_s)

    @_call
    def claim_task(
        self, task_id: str, agent: AgentIdentity, *, run: str, begun: bool
    ) -> Task | None:
        """Claim a task for a run of an agent; like servers that do not tell what it holds."""
        task = self._task(task_id)
        self.agents.refuse_copy(agent)
        check_claim(task, agent, begun=begun)
        if task.claimed_by is None or (task_id, agent.id, run) not in self.claims:
            self.claims.append((task_id, agent.id, run))
            self.tasks[task_id] = dataclasses.replace(task, claimed_by=agent.id)
        return None

    @_call
    def health(self) -> ApiHealth:
        """Return ``health_answer``."""
        return self.health_answer

    @_call
    def check_writes(self) -> None:
        """Return: writes arrive, unless a test has this fail."""

    def call_counts(self) -> ApiCalls:
        """Return how many calls there were; without a network, all of them are answered."""
        return ApiCalls(results={"2xx": len(self.calls)}, retries=0)

    def events(self, session_id: str, stop: threading.Event) -> Iterator[ServerEvent]:
        """Yield the events of a session from now on."""
        with self.lock:
            failure = self._begin("events")
            if failure is not None:
                raise failure.error
            seen = len(self._events)
        yield ServerEvent(name="connected", data={"sessionId": session_id})
        while not stop.is_set():
            with self._changed:
                if seen >= len(self._events):
                    self._changed.wait(_STOP_TICK_S)
                    continue
                owner, event = self._events[seen]
                seen += 1
            if owner == session_id:
                yield event

    def _once(self, method: str, owner: str, key: str, act: Callable[[], _Result]) -> _Result:
        """Act once for a key; a refused write leaves no trace and may be tried again."""
        if (method, owner, key) not in self._results:
            self._results[method, owner, key] = act()
        return cast("_Result", self._results[method, owner, key])

    def _created(self, task: Task, *, session_id: str, parent_task_id: str | None) -> Task:
        session = self.sessions.get(session_id)
        if session is None or not task.name.strip():
            raise errors.ApiRefused("A task needs a name and an existing session", status=400)
        if session.has_ended:
            raise errors.ApiConflict(f"Session {session_id} is {session.status}", status=409)
        return self.add_task(
            session_id,
            task.script,
            name=task.name,
            description=task.description,
            priority=task.priority,
            parameters=dict(task.parameters),
            parent_task_id=parent_task_id,
        )
