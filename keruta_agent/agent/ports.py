"""What the journey of a task needs of the outside world.

The real things are handed in by ``daemon/wiring.py``; in-memory doubles are in ``testing.py`` and
pass the same contract tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Event
from typing import Any, Protocol

from keruta_agent.core.model import (
    AgentIdentity,
    ApiCalls,
    ApiHealth,
    ArtifactFile,
    LogEntry,
    Registration,
    Script,
    ServerEvent,
    Session,
    StatusReport,
    Task,
)
from keruta_agent.core.pending import PendingTasks


class KerutaApi(Protocol):
    """The keruta API, whichever dialect the server speaks.

    Every method may raise the ``ApiError`` family. Writes take an idempotency ``key``: a server
    that knows it stores a repeated write once. A method whose route the server lacks raises
    ``ApiUnsupported`` (remembered, so it costs nothing the next time) unless said otherwise.
    """

    def session(self, session_id: str) -> Session:
        """Return a session by its complete id."""
        ...

    def sessions_by_partial_id(self, partial_id: str) -> list[Session]:
        """Return the sessions whose id begins with this (at least 4 characters)."""
        ...

    def sessions_by_name(self, name: str) -> list[Session]:
        """Return the sessions whose name is exactly this."""
        ...

    def all_sessions(self) -> list[Session]:
        """Return all sessions, for servers that cannot search; states may have other words."""
        ...

    def session_by_workspace(self, workspace_id: str) -> Session:
        """Return the session that a workspace serves."""
        ...

    def pending_tasks(self, session_id: str) -> PendingTasks:
        """Return the session's PENDING tasks, each read when it is asked for."""
        ...

    def workspace_pending_tasks(self, workspace_id: str) -> list[Task]:
        """Return a workspace's PENDING tasks in execution order (legacy route)."""
        ...

    def task(self, task_id: str) -> Task:
        """Return a task."""
        ...

    def script(self, task_id: str) -> Script:
        """Return what the task wants executed, falling back to the task's own script field."""
        ...

    def write_status(self, task_id: str, report: StatusReport, *, key: str) -> Task:
        """Write a task's state once and return the task as the server now holds it.

        Raises:
            ApiAmbiguous: the write may have been stored; look with ``task`` before repeating it.
        """
        ...

    def send_logs(self, task_id: str, entries: Sequence[LogEntry], *, key: str) -> int:
        """Store log entries in order and return how many, counted from the first, are stored.

        Fewer than all when the server failed on the way; raises only when none was stored.
        """
        ...

    def send_progress(self, task_id: str, percent: int, message: str, *, key: str) -> None:
        """Store the progress, as a log line where the server has no better place for it."""
        ...

    def send_metrics(self, task_id: str, metrics: Mapping[str, Any], *, key: str) -> None:
        """Store measurements of a run."""
        ...

    def upload_artifact(self, task_id: str, artifact: ArtifactFile, *, key: str) -> None:
        """Stream a file from disk to the server."""
        ...

    def request_auto_fix(
        self, task_id: str, *, error_message: str, error_code: str, key: str
    ) -> None:
        """Ask the server to create the auto-fix task of a failed task."""
        ...

    def subtasks(self, task_id: str) -> list[Task]:
        """Return the tasks whose parent this is."""
        ...

    def create_subtask(self, parent_id: str, task: Task, *, key: str) -> Task:
        """Create a task under a parent; ``task.id`` and ``task.status`` are ignored."""
        ...

    def create_task(self, task: Task, *, key: str) -> Task:
        """Create a task in ``task.session_id``; ``task.id`` and ``task.status`` are ignored."""
        ...

    def request_input(
        self, task_id: str, prompt: str, *, secret: bool = False, key: str
    ) -> str | None:
        """Tell the server that the script waits for an answer to this prompt.

        Returns the server's id of the question, where it has one.
        """
        ...

    def poll_input(self, task_id: str, question_id: str | None = None) -> str | None:
        """Return the answer to the open prompt, or None while there is none.

        By its id a question's answer may be asked for again and again, until the task goes on;
        without one it is handed out once.
        """
        ...

    def register_agent(
        self, agent: AgentIdentity, session_id: str, *, lease_s: float
    ) -> Registration:
        """Register an agent with its session or renews its lease (0: it leaves).

        Raises:
            ApiConflict: another living agent uses its id.
        """
        ...

    def claim_task(
        self, task_id: str, agent: AgentIdentity, *, run: str, begun: bool
    ) -> Task | None:
        """Claim a task for a run of an agent; repeated for the same agent it is renewed.

        ``begun`` says that the agent itself has begun the task before, perhaps without a claim.

        Returns:
            The task as it was claimed, None from servers that do not tell.

        Raises:
            ApiConflict: another agent has it, somebody has begun it, or it has ended.
        """
        ...

    def health(self) -> ApiHealth:
        """Ask the server for its health; its own answer is never an error."""
        ...

    def check_writes(self) -> None:
        """Return when writes reach the API; change nothing there.

        Raises:
            ApiBlocked: something before the API keeps them from it.
            ApiUnauthorized: the API takes none with our token.
        """
        ...

    def call_counts(self) -> ApiCalls:
        """Return what became of the requests so far."""
        ...

    def events(self, session_id: str, stop: Event) -> Iterator[ServerEvent]:
        """Yield the server's events of a session until ``stop`` is set or the stream ends."""
        ...


class WorkQueue(Protocol):
    """The dispatcher: it wakes the worker; the truth is in the records."""

    def jobs_runnable(self) -> None:
        """Announce that jobs may wait to be run; the claim decides which comes next."""
        ...

    def job_failed(self, job_id: int) -> None:
        """Announce that a run of a job failed; what follows from that is stored already."""
        ...

    def outbox_filled(self) -> None:
        """Announce that the outbox holds something that should leave soon."""
        ...

    def poll_now(self) -> None:
        """Ask for a poll before the next regular one."""
        ...
