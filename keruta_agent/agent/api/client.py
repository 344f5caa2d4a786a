"""The keruta API client: ``ports.KerutaApi`` over HTTP.

Every method of the port stands here and says which route serves it; what is not obvious lives in
the neighbouring modules.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import requests

import keruta_agent
from keruta_agent.agent.api import artifacts, events, health, parsing, writes
from keruta_agent.agent.api.capabilities import Capabilities
from keruta_agent.agent.api.claims import ClaimRoutes
from keruta_agent.agent.api.dialect import RunningName
from keruta_agent.agent.api.input import InputRoutes
from keruta_agent.agent.api.logs import LogWriter
from keruta_agent.agent.api.routes import OptionalRoutes, no_owner
from keruta_agent.agent.api.script import script_of, script_of_task
from keruta_agent.agent.api.sessions import SessionReader
from keruta_agent.agent.api.status import StatusWriter
from keruta_agent.core import errors
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
from keruta_agent.http.client.http import HttpClient, segment

SCRIPT = "script route"
PROGRESS = "progress route"
METRICS = "metrics route"
ARTIFACTS = "artifact store"
AUTO_FIX = "auto-fix route"
SUBTASKS = "subtasks"
EVENTS = "stream of events"


class KerutaClient:
    """The client of one keruta server; safe to be used by several threads at once.

    Reads are tried again for a few seconds; writes are sent once (see ``clients/http.py``).
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        timeout_s: float = 30,
        status_timeout_s: float = 120,
        processing_status: str = "PROCESSING",
        progress_via_status: bool = False,
        capabilities: Capabilities | None = None,
        ca_file: Path | None = None,
    ) -> None:
        """Prepare a client; no request leaves before the first call.

        ``status_timeout_s`` is longer than ``timeout_s`` because servers hold a status write for
        30 s and more. ``progress_via_status`` sends progress as a status write where there is no
        route for it, which fails the task on servers with an execution lock.

        Raises:
            SettingsError: the address, the token, the processing status or the certificate
                authorities are unusable.
        """
        self._http = HttpClient(
            base_url,
            token=token,
            timeout_s=timeout_s,
            user_agent=f"keruta-agent/{keruta_agent.__version__}",
            ca_file=ca_file,
        )
        self._slow_timeout_s = max(timeout_s, status_timeout_s)
        self._progress_via_status = progress_via_status
        capabilities = capabilities or Capabilities()
        self._routes = OptionalRoutes(capabilities)
        self._sessions = SessionReader(self._http, self._routes)
        self._input = InputRoutes(self._http, self._routes, read_task=self.task)
        self._claims = ClaimRoutes(self._http, self._routes)
        self._logs = LogWriter(self._http, capabilities)
        self._status = StatusWriter(
            self._http,
            RunningName(processing_status),
            read_task=self.task,
            timeout_s=self._slow_timeout_s,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> KerutaClient:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def session(self, session_id: str) -> Session:
        """Return a session: GET ``/sessions/{id}``."""
        return self._sessions.by_id(session_id)

    def sessions_by_partial_id(self, partial_id: str) -> list[Session]:
        """Return sessions by the beginning of the id: GET ``/sessions/search/partial-id``."""
        return self._sessions.by_partial_id(partial_id)

    def sessions_by_name(self, name: str) -> list[Session]:
        """Return sessions by exact name: GET ``/sessions/search``."""
        return self._sessions.by_name(name)

    def all_sessions(self) -> list[Session]:
        """Return all sessions: GET ``/sessions``."""
        return self._sessions.all()

    def session_by_workspace(self, workspace_id: str) -> Session:
        """Return the session of a workspace: GET ``/sessions/by-workspace/{id}``."""
        return self._sessions.by_workspace(workspace_id)

    def pending_tasks(self, session_id: str) -> PendingTasks:
        """Return a session's pending tasks: GET ``/sessions/{id}/tasks``."""
        return self._sessions.pending_tasks(session_id)

    def workspace_pending_tasks(self, workspace_id: str) -> list[Task]:
        """Return a workspace's pending tasks: GET ``/workspaces/{id}/tasks/pending``."""
        return self._sessions.workspace_pending_tasks(workspace_id)

    def task(self, task_id: str) -> Task:
        """Return a task: GET ``/tasks/{id}``."""
        action = f"Reading task {task_id}"
        return parsing.task_of(self._http.get(action, _path(task_id)), action)

    def script(self, task_id: str) -> Script:
        """Return what to execute: GET ``/tasks/{id}/script``, else the task's own script.

        The servers' script route leaves the task's parameters out; then they come from the task.
        """
        action = f"Reading the script of task {task_id}"
        try:
            script = self._routes.call(
                SCRIPT,
                lambda: script_of(self._http.get(action, _path(task_id, "script")), action),
                owner=self._task_reader(task_id),
            )
        except errors.ApiUnsupported:
            script = None
        if script is None:
            return script_of_task(self.task(task_id))
        if not script.parameters:
            return dataclasses.replace(script, parameters=self.task(task_id).parameters)
        return script

    def write_status(self, task_id: str, report: StatusReport, *, key: str) -> Task:
        """Write a state: PUT ``/tasks/{id}/status``."""
        return self._status.write(task_id, report, key=key)

    def send_logs(self, task_id: str, entries: Sequence[LogEntry], *, key: str) -> int:
        """Store log entries: POST ``/tasks/{id}/logs``."""
        return self._logs.send(task_id, entries, key=key)

    def send_progress(self, task_id: str, percent: int, message: str, *, key: str) -> None:
        """Store progress: PATCH ``/tasks/{id}/progress``, else a log line."""
        body: dict[str, Any] = {"progress": percent}
        if message:
            # Left out, the last one stays.
            body["message"] = message
        action = f"Sending the progress of task {task_id}"
        try:
            self._call_task_route(PROGRESS, action, "PATCH", task_id, "progress", body, key)
        except errors.ApiUnsupported:
            self._send_progress_otherwise(task_id, percent, message, key)

    def _send_progress_otherwise(self, task_id: str, percent: int, message: str, key: str) -> None:
        if self._progress_via_status:
            report = StatusReport(status=TaskStatus.PROCESSING, message=message, progress=percent)
            self._status.write(task_id, report, key=key)
            return
        text = f"progress {percent}%: {message}" if message else f"progress {percent}%"
        entry = LogEntry(level=LogLevel.INFO, message=text, source="agent")
        self._logs.send(task_id, [entry], key=key)

    def send_metrics(self, task_id: str, metrics: Mapping[str, Any], *, key: str) -> None:
        """Store measurements: POST ``/tasks/{id}/metrics``."""
        action = f"Sending the metrics of task {task_id}"
        self._call_task_route(METRICS, action, "POST", task_id, "metrics", dict(metrics), key)

    def upload_artifact(self, task_id: str, artifact: ArtifactFile, *, key: str) -> None:
        """Stream a file: POST ``/tasks/{id}/artifacts``.

        Raises:
            NotFound, AgentStateError: the file is gone, unreadable or not what was recorded.
        """
        self._routes.call(
            ARTIFACTS,
            lambda: artifacts.upload(
                self._http, task_id, artifact, key=key, timeout_s=self._slow_timeout_s
            ),
            owner=self._task_reader(task_id),
        )

    def request_auto_fix(
        self, task_id: str, *, error_message: str, error_code: str, key: str
    ) -> None:
        """Ask for an auto-fix task: POST ``/tasks/{id}/auto-fix``."""
        body = {"errorMessage": error_message, "errorCode": error_code}
        action = f"Asking for the auto-fix of task {task_id}"
        self._call_task_route(AUTO_FIX, action, "POST", task_id, "auto-fix", body, key)

    def subtasks(self, task_id: str) -> list[Task]:
        """Return a task's children: GET ``/tasks/{id}/subtasks``."""
        action = f"Reading the subtasks of task {task_id}"
        response = self._routes.call(
            SUBTASKS,
            lambda: self._http.get(action, _path(task_id, "subtasks")),
            owner=self._task_reader(task_id),
        )
        return parsing.tasks_of(response, action)

    def create_subtask(self, parent_id: str, task: Task, *, key: str) -> Task:
        """Create a task under a parent: POST ``/tasks/{id}/subtasks``."""
        action = f"Creating a subtask of task {parent_id}"
        response = self._call_task_route(
            SUBTASKS, action, "POST", parent_id, "subtasks", _new_task(task), key
        )
        return _created(response, action)

    def create_task(self, task: Task, *, key: str) -> Task:
        """Create a task in its session: POST ``/tasks``."""
        body = {"sessionId": task.session_id, **_new_task(task)}
        if task.parent_task_id:
            body["parentTaskId"] = task.parent_task_id
        action = f"Creating a task in session {task.session_id}"
        return _created(self._http.write(action, "POST", "/api/v1/tasks", body, key=key), action)

    def request_input(
        self, task_id: str, prompt: str, *, secret: bool = False, key: str
    ) -> str | None:
        """Announce a prompt: POST ``/tasks/{id}/input-request``."""
        return self._input.request(task_id, prompt, secret=secret, key=key)

    def poll_input(self, task_id: str, question_id: str | None = None) -> str | None:
        """Return the answer if there is one: GET ``/tasks/{id}/input``."""
        return self._input.poll(task_id, question_id)

    def register_agent(
        self, agent: AgentIdentity, session_id: str, *, lease_s: float
    ) -> Registration:
        """Register an agent or renews its lease: PUT ``/agents/{id}``."""
        return self._claims.register(
            agent, session_id, lease_s=lease_s, read_session=lambda: self.session(session_id)
        )

    def claim_task(
        self, task_id: str, agent: AgentIdentity, *, run: str, begun: bool
    ) -> Task | None:
        """Claim a task for a run: POST ``/tasks/{id}/claim``."""
        read_task = self._task_reader(task_id)
        return self._claims.claim(task_id, agent, run=run, begun=begun, read_task=read_task)

    def health(self) -> ApiHealth:
        """Ask how the server is: GET ``/api/v1/health``, else ``/health``."""
        return health.ask(self._http)

    def check_writes(self) -> None:
        """Test a write: PUT ``/tasks/{id}/status`` of a task that does not exist."""
        try:
            writes.check(self._http)
        except errors.ApiBlocked:
            # What seemed to lack a route was not the server.
            self._routes.capabilities.forget_missing()
            raise

    def call_counts(self) -> ApiCalls:
        """Return what became of the requests since this client was made."""
        return self._http.calls.counts()

    def events(self, session_id: str, stop: Event) -> Iterator[ServerEvent]:
        """Yield a session's events: GET ``/sessions/realtime/events``."""
        with contextlib.ExitStack() as stack:
            opened = events.stream(self._http, session_id, stop)
            stream = self._routes.call(
                EVENTS,
                lambda: stack.enter_context(opened),
                # An unknown session has no events rather than no stream.
                owner=no_owner,
            )
            yield from stream

    def _call_task_route(
        self,
        feature: str,
        action: str,
        method: str,
        task_id: str,
        name: str,
        body: object,
        key: str,
    ) -> requests.Response:
        path = _path(task_id, name)
        return self._routes.call(
            feature,
            lambda: self._http.write(action, method, path, body, key=key),
            owner=self._task_reader(task_id),
        )

    def _task_reader(self, task_id: str) -> Callable[[], Task]:
        return lambda: self.task(task_id)


def _path(task_id: str, name: str = "") -> str:
    path = f"/api/v1/tasks/{segment(task_id)}"
    return f"{path}/{name}" if name else path


def _new_task(task: Task) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": task.name,
        "description": task.description,
        "script": task.script,
        "parameters": dict(task.parameters),
    }
    if task.priority:
        # Not among the fields of every server, and 0 is what they assume.
        body["priority"] = task.priority
    return body


def _created(response: requests.Response, action: str) -> Task:
    try:
        return parsing.task_of(response, action)
    except errors.ApiFailed as exc:
        raise errors.ApiAmbiguous(
            exc.message, advice="It may have been created: look before sending it again"
        ) from exc
