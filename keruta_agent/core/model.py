"""What the agent and the server talk about: sessions, tasks, logs, artifacts.

Frozen values without I/O. The states and their legal moves stand here once, for the agent, the
embedded server and the tests (shared/contract: "State vocabularies").
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class TaskStatus(enum.StrEnum):
    """State of a task at the API. ``PROCESSING`` is called ``IN_PROGRESS`` by some servers."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    WAITING_FOR_INPUT = "WAITING_FOR_INPUT"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    #: Some servers say this of a task that will be tried again.
    RETRYING = "RETRYING"

    @property
    def is_terminal(self) -> bool:
        """Whether no further move is legal."""
        return not TASK_MOVES[self]


#: Wire names that mean one of the states above.
TASK_STATUS_ALIASES: Mapping[str, TaskStatus] = {
    "IN_PROGRESS": TaskStatus.PROCESSING,
    "RUNNING": TaskStatus.PROCESSING,
    "CANCELED": TaskStatus.CANCELLED,
}

#: The legal moves. A write of the state that already holds is always legal and changes no state.
TASK_MOVES: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset(
        {
            TaskStatus.PROCESSING,
            TaskStatus.WAITING_FOR_INPUT,
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.PROCESSING: frozenset(
        {
            TaskStatus.WAITING_FOR_INPUT,
            TaskStatus.RETRYING,
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.WAITING_FOR_INPUT: frozenset(
        {
            TaskStatus.PROCESSING,
            TaskStatus.RETRYING,
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.RETRYING: frozenset(
        {
            TaskStatus.PROCESSING,
            TaskStatus.COMPLETED,
            TaskStatus.FAILED,
            TaskStatus.CANCELLED,
        }
    ),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
}


def parse_task_status(text: str) -> TaskStatus:
    """Return the state that a wire name means, in any case.

    Raises:
        ValueError: the name is none of the known ones.
    """
    name = text.strip().upper()
    return TASK_STATUS_ALIASES.get(name) or TaskStatus(name)


class SessionStatus(enum.StrEnum):
    """State of a session at the API, over all servers."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    #: Of the embedded server alone. Others have sessions that are INACTIVE until their workspace
    #: is up, or permanently; those are worked for.
    PAUSED = "PAUSED"
    RUNNING = "RUNNING"
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    ARCHIVED = "ARCHIVED"
    TERMINATED = "TERMINATED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DELETED = "DELETED"


#: Sessions in these states get no new tasks.
ENDED_SESSION_STATES = frozenset(
    {"COMPLETED", "ARCHIVED", "TERMINATED", "FAILED", "CANCELLED", "DELETED"}
)


class LogLevel(enum.StrEnum):
    """Level of a log entry on the wire."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"
    FATAL = "FATAL"


#: Other names of the levels.
LOG_LEVEL_ALIASES: Mapping[str, LogLevel] = {
    "WARNING": LogLevel.WARN,
    "CRITICAL": LogLevel.FATAL,
    "PANIC": LogLevel.FATAL,
    "TRACE": LogLevel.DEBUG,
}


def parse_log_level(text: str) -> LogLevel:
    """Return the level that a name means, in any case.

    Raises:
        ValueError: the name is none of the known ones.
    """
    name = text.strip().upper()
    return LOG_LEVEL_ALIASES.get(name) or LogLevel(name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """A session: the list of tasks that one workspace serves."""

    id: str
    name: str = ""
    #: As the server wrote it, upper case: servers differ in their states.
    status: str = SessionStatus.ACTIVE.value
    description: str = ""
    tags: Sequence[str] = ()
    workspace_id: str | None = None
    repository_url: str | None = None
    repository_ref: str | None = None
    template_config: Mapping[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the session takes no more tasks."""
        return self.status in ENDED_SESSION_STATES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A task at the API: one script to run."""

    id: str
    session_id: str = ""
    name: str = ""
    description: str = ""
    script: str = ""
    status: TaskStatus = TaskStatus.PENDING
    message: str = ""
    #: Percent, 0 to 100.
    progress: int = 0
    error_code: str = ""
    #: Higher runs first; servers without the field mean 0.
    priority: int = 0
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parent_task_id: str | None = None
    #: Id of the agent that has claimed it; None without one, and on servers without claims.
    claimed_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


#: What the title of an auto-fix task begins with: "[auto-fix] ".
AUTO_FIX_TITLE_PREFIX = "[自動修正] "
#: Auto-fix tasks in a chain, and in all for one first task.
MOST_AUTO_FIXES = 3
#: Parameter of an auto-fix task: what the failures of its chain looked like, oldest first. A text,
#: because some servers keep no other values.
FAILURE_PARAMETER = "failure"


def auto_fix_title(name: str) -> str:
    """Return the title of the task that fixes a task; the prefix is not stacked."""
    return AUTO_FIX_TITLE_PREFIX + name.removeprefix(AUTO_FIX_TITLE_PREFIX)


def auto_fix_parameters(
    failed: Task, *, root: str, fix_count: int, error_code: str, error_message: str
) -> dict[str, Any]:
    """Return the parameters of the task that fixes a task."""
    return {
        **failed.parameters,
        "autoFix": True,
        "fixCount": fix_count,
        "originalTaskId": root,
        "errorCode": error_code,
        FAILURE_PARAMETER: " ".join(
            [*_failures(failed.parameters), failure_fingerprint(error_code, error_message)]
        ),
    }


def has_failed_so_before(parameters: Mapping[str, Any], error_code: str, message: str) -> bool:
    """Return whether a fix failed as a task before it in its chain: one more would not help."""
    return failure_fingerprint(error_code, message) in _failures(parameters)


def _failures(parameters: Mapping[str, Any]) -> list[str]:
    return str(parameters.get(FAILURE_PARAMETER) or "").split()


def failure_fingerprint(error_code: str, message: str) -> str:
    """Return what a failure looks like, without what differs each time: numbers, ids, paths.

    The code is taken as it is: an exit with 1 is another failure than one with 2.
    """
    words = re.sub(r"[0-9a-fA-F]{6,}|\d+|(?:/[\w.@+-]+)+", "#", message)
    return hashlib.sha256(" ".join([error_code, *words.split()]).encode()).hexdigest()[:16]


def in_execution_order(tasks_newest_first: Sequence[Task]) -> list[Task]:
    """Sort tasks by priority, then age: the order in which they run.

    The oldest dateless task is the last one received, because servers list the newest first.
    """
    received = list(reversed(tasks_newest_first))
    return sorted(received, key=lambda task: turn_of(task.priority, task.created_at))


def turn_of(priority: int, created_at: datetime | None) -> tuple[int, datetime]:
    """Return what tasks are sorted by: priority, then age; dateless ones come last."""
    return -priority, created_at or datetime.max.replace(tzinfo=UTC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Script:
    """What a task wants executed, as the script route tells it."""

    content: str
    language: str = "bash"
    filename: str = "task.sh"
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the script from ``parameters.env``; other value types become text."""
        variables = self.parameters.get("env")
        if not isinstance(variables, Mapping):
            return {}
        return {str(name): str(value) for name, value in variables.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatusReport:
    """One write of a task's state. All four fields always go out: servers reset what is missing."""

    status: TaskStatus
    message: str = ""
    progress: int = 0
    error_code: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One line of a task's log."""

    level: LogLevel
    message: str
    #: ``stdout``, ``stderr``, ``agent`` or ``task``.
    source: str = "task"
    timestamp: datetime | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArtifactFile:
    """A file on this machine that is to be stored at the API."""

    file: Path
    #: Where it stood under the artifacts directory, with forward slashes.
    relative_path: str
    #: Bytes.
    size: int
    sha256: str
    content_type: str = "application/octet-stream"
    description: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentIdentity:
    """One agent, as servers know it."""

    id: str
    #: Fingerprint of where it runs: two live copies of one base directory differ in it.
    instance: str
    host: str = ""


class AgentRole(enum.StrEnum):
    """What an agent is to its session."""

    #: Takes the session's tasks.
    ACTIVE = "ACTIVE"
    #: Waits until the active one has been silent for its lease.
    STANDBY = "STANDBY"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Registration:
    """A server's answer to an agent's heartbeat."""

    role: AgentRole
    #: The agent that is active instead, in words; empty when this one is.
    active: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerEvent:
    """One server-sent event: something changed at the server."""

    name: str
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApiCalls:
    """What became of the requests of one client."""

    #: Requests by ``2xx`` to ``5xx``, ``unreachable`` or ``lost`` (the answer is not known).
    results: Mapping[str, int]
    #: Reads that were tried once more.
    retries: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApiHealth:
    """Answer of the server's health route."""

    healthy: bool
    detail: str = ""
