"""Every setting of the agent, once: its type, file key, variables, default and what it is for.

:class:`Settings` is what the rest of the program reads. Its declaration is also the marshmallow
schema that checks the values (:data:`SettingsSchema`) and the list that ``config show``, the
documentation and the tests walk through (:data:`SETTINGS`).
"""

# ruff: noqa: RUF009 - setting returns a dataclass field, as dataclasses.field does

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

from marshmallow import Schema
from marshmallow import fields as marshmallow_fields

from keruta_agent.core.settings.declaration import DAY_S, SettingInfo, setting
from keruta_agent.core.settings.fields import (
    ApiUrl,
    Choice,
    Extensions,
    Location,
    Names,
    Secret,
    Text,
    Whole,
    YesNo,
)
from keruta_agent.core.settings.git import GitSettings
from keruta_agent.core.settings.logging import LoggingSettings
from keruta_agent.core.settings.runner import RunnerSettings
from keruta_agent.core.units import Duration, Size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(RunnerSettings, LoggingSettings, GitSettings):
    """The values in force. Seconds end in ``_s``, sizes are bytes, paths are absolute."""

    api_url: str | None = setting(
        ApiUrl(),
        key="api.url",
        environment=("KERUTA_API_URL",),
        help="Address of the keruta API, such as http://keruta-api:8080.",
    )
    api_token: str | None = setting(
        Secret(),
        key="api.token",
        environment=("KERUTA_API_TOKEN",),
        secret=True,
        help="Token that the keruta API asks for; a file that holds it wants chmod 600.",
    )
    api_ca_file: Path | None = setting(
        Location(),
        key="api.ca_file",
        environment=("KERUTA_API_CA_FILE",),
        help="Certificate authorities (PEM) that the API's certificate is checked with, in place "
        "of those of the system and of SSL_CERT_FILE.",
    )
    api_timeout_s: float = setting(
        Duration(minimum_s=0.1, maximum_s=DAY_S),
        key="api.timeout",
        environment=("KERUTA_TIMEOUT",),
        default="30s",
        help="How long a request to the API may take.",
    )
    api_status_timeout_s: float = setting(
        Duration(minimum_s=0.1, maximum_s=DAY_S),
        key="api.status_timeout",
        environment=("KERUTA_API_STATUS_TIMEOUT",),
        default="120s",
        help="How long the write of a task's status may take; servers may hold it for a while.",
    )
    api_processing_status: str = setting(
        Choice("PROCESSING", "IN_PROGRESS"),
        key="api.processing_status",
        environment=("KERUTA_API_PROCESSING_STATUS",),
        default="PROCESSING",
        help="Name that the server gives to a running task: PROCESSING or IN_PROGRESS.",
    )
    api_progress_via_status: bool = setting(
        YesNo(),
        key="api.progress_via_status",
        environment=("KERUTA_API_PROGRESS_VIA_STATUS",),
        default=False,
        help="Whether progress goes out as a status write; some servers fail a task on that.",
    )
    api_events: bool = setting(
        YesNo(),
        key="api.events",
        environment=("KERUTA_API_EVENTS",),
        default=True,
        help="Whether to listen to the server's events, so that a new task starts at once.",
    )
    session_id: str | None = setting(
        Text(),
        key="session.id",
        environment=("KERUTA_SESSION_ID",),
        help="Session whose tasks run here; without it the workspace tells.",
    )
    session_lease_s: float = setting(
        Duration(minimum_s=1, maximum_s=DAY_S),
        key="session.lease",
        environment=("KERUTA_SESSION_LEASE",),
        default="60s",
        help="Silence of this agent after which another agent of the session takes over.",
    )
    workspace_id: str | None = setting(
        Text(),
        key="workspace.id",
        environment=("KERUTA_WORKSPACE_ID", "CODER_WORKSPACE_ID"),
        help="Id of the workspace that this agent serves.",
    )
    workspace_name: str | None = setting(
        Text(),
        key="workspace.name",
        environment=("CODER_WORKSPACE_NAME",),
        help="Name of the Coder workspace; the session is found by it.",
    )
    working_dir: Path | None = setting(
        Location(),
        key="workspace.directory",
        environment=("KERUTA_WORKING_DIR",),
        help="Directory in which task scripts run, and of the session's repository if it has one; "
        "chosen by the agent when left out.",
    )
    task_id: str | None = setting(
        Text(),
        environment=("KERUTA_TASK_ID",),
        help="Task that a command speaks of; the agent sets it for its scripts.",
    )
    artifacts_dir: Path = setting(
        Location(),
        key="artifacts.directory",
        environment=("KERUTA_ARTIFACTS_DIR",),
        default="/.keruta/doc",
        help="Directory in which scripts leave their artifacts.",
    )
    artifacts_max_size: int = setting(
        Size(),
        key="artifacts.max_size",
        environment=("KERUTA_MAX_FILE_SIZE",),
        environment_unit="MB",
        default="100MB",
        help="Largest artifact that is stored; a bare number in the variable means MB.",
    )
    artifacts_extensions: tuple[str, ...] = setting(
        Extensions(),
        key="artifacts.extensions",
        environment=("KERUTA_ARTIFACTS_EXTENSIONS",),
        default=(),
        help="File name endings that count as artifacts, such as [.pdf, .csv]; empty means all.",
    )
    auto_fix: bool = setting(
        YesNo(),
        key="error_handling.auto_fix",
        environment=("KERUTA_AUTO_FIX_ENABLED",),
        default=True,
        help="Whether a failed task gets a task that repairs it.",
    )
    retry_count: int = setting(
        Whole(minimum=0, maximum=100),
        key="error_handling.retry_count",
        environment=("KERUTA_RETRY_COUNT",),
        default=3,
        help="How often a failed task is tried again, unless its parameters.retry says otherwise.",
    )
    retry_delay_s: float = setting(
        Duration(maximum_s=DAY_S),
        key="error_handling.retry_delay",
        environment=("KERUTA_RETRY_DELAY",),
        default="1s",
        help="Time before the first retry; it doubles with each one, up to 5 minutes.",
    )
    http_input: bool = setting(
        YesNo(),
        key="input.http",
        environment=("KERUTA_USE_HTTP_INPUT",),
        default=False,
        help="Whether the daemon takes input for scripts over HTTP.",
    )
    input_timeout_s: float = setting(
        Duration(),
        key="input.timeout",
        environment=("KERUTA_INPUT_TIMEOUT",),
        default="7d",
        help=(
            "Time that a script may wait for an answer, unless its parameters.inputTimeout says"
            " otherwise; 0: any."
        ),
    )
    auto_detect_input: bool = setting(
        YesNo(),
        key="input_detection.auto_detect",
        environment=("KERUTA_AUTO_DETECT_INPUT",),
        default=True,
        help="Whether the daemon notices by itself that a script waits for input.",
    )
    daemon_host: str = setting(
        Text(),
        key="daemon.host",
        environment=("KERUTA_DAEMON_HOST",),
        flag="--host",
        default="localhost",
        help="Address on which the daemon's HTTP port listens.",
    )
    daemon_port: int = setting(
        Whole(minimum=0, maximum=65_535),
        key="daemon.port",
        environment=("KERUTA_DAEMON_PORT",),
        flag="--port",
        default=8080,
        help="The daemon's HTTP port, 0 for a free one; to set it turns the HTTP API on.",
    )
    daemon_token: str | None = setting(
        Secret(),
        key="daemon.token",
        environment=("KERUTA_DAEMON_TOKEN",),
        secret=True,
        help="Token that the daemon's HTTP API asks for; made up and kept in a file if left out.",
    )
    daemon_allowed_hosts: tuple[str, ...] = setting(
        Names(),
        key="daemon.allowed_hosts",
        environment=("KERUTA_DAEMON_ALLOWED_HOSTS",),
        default=(),
        help="More names under which the daemon's HTTP API may be asked, such as [agent.example].",
    )
    poll_interval_s: float = setting(
        Duration(minimum_s=0.1, maximum_s=DAY_S),
        key="daemon.poll_interval",
        environment=("KERUTA_POLL_INTERVAL",),
        default="5s",
        help="How often the API is asked for new tasks.",
    )
    pid_file: Path | None = setting(
        Location(),
        key="daemon.pid_file",
        environment=("KERUTA_PID_FILE",),
        help="File into which the daemon writes its process id.",
    )
    keep_alive: bool = setting(
        YesNo(),
        key="daemon.keep_alive",
        environment=("KERUTA_KEEP_ALIVE",),
        default=False,
        help="Whether the daemon stays when its session has ended.",
    )
    max_concurrent_tasks: int = setting(
        Whole(
            minimum=1,
            maximum=1,
            advice=(
                "It must be 1: the tasks of a session run one at a time by design; to run more at"
                " once, start more sessions, each with its own agent"
            ),
        ),
        key="daemon.max_concurrent_tasks",
        environment=("KERUTA_MAX_CONCURRENT_TASKS",),
        default=1,
        help="Always 1: the tasks of a session run one at a time.",
    )
    base_dir: Path = setting(
        Location(),
        key="daemon.base_dir",
        environment=("KERUTA_BASE_DIR",),
        default="~/.keruta",
        help="Directory of the agent's own state; /tmp/keruta when HOME is not set.",
    )
    runs_keep_age_s: float = setting(
        Duration(),
        key="runs.keep_age",
        environment=("KERUTA_RUNS_KEEP_AGE",),
        default="7d",
        help="Age at which the directory of a finished run is removed.",
    )
    runs_keep_size: int = setting(
        Size(),
        key="runs.keep_size",
        environment=("KERUTA_RUNS_KEEP_SIZE",),
        default="1GB",
        help="Total size of the directories of finished runs; the oldest are removed first.",
    )
    retention_jobs_age_s: float = setting(
        Duration(),
        key="retention.jobs_age",
        environment=("KERUTA_RETENTION_JOBS_AGE",),
        default="30d",
        help="Age at which an ended job is pruned, once the API has all of it; 0: any.",
    )
    retention_jobs_count: int = setting(
        Whole(minimum=0, maximum=1_000_000_000),
        key="retention.jobs_count",
        environment=("KERUTA_RETENTION_JOBS_COUNT",),
        default=10_000,
        help="How many ended jobs are kept; the oldest are pruned first; 0: any number.",
    )
    health_disk_free_min: int = setting(
        Size(),
        key="health.disk_free_min",
        environment=("KERUTA_HEALTH_DISK_FREE_MIN",),
        default="500MB",
        help="Free room on the disk below which the agent is not healthy.",
    )
    health_memory_free_min: int = setting(
        Size(),
        key="health.memory_free_min",
        environment=("KERUTA_HEALTH_MEMORY_FREE_MIN",),
        default="100MB",
        help="Free memory below which the agent is not healthy.",
    )
    health_queue_age_max_s: float = setting(
        Duration(),
        key="health.queue_age_max",
        environment=("KERUTA_HEALTH_QUEUE_AGE_MAX",),
        default="10m",
        help="Time that a job may wait while nothing runs and the queue is not paused.",
    )
    health_outbox_age_max_s: float = setting(
        Duration(),
        key="health.outbox_age_max",
        environment=("KERUTA_HEALTH_OUTBOX_AGE_MAX",),
        default="10m",
        help="Time that reports to the API may wait.",
    )
    health_api_timeout_s: float = setting(
        Duration(minimum_s=0.1, maximum_s=DAY_S),
        key="health.api_timeout",
        environment=("KERUTA_HEALTH_API_TIMEOUT",),
        default="5s",
        help="How long a check of health waits for the API.",
    )
    stop_grace_s: float = setting(
        Duration(maximum_s=DAY_S),
        key="execution.stop_grace",
        environment=("KERUTA_STOP_GRACE",),
        default="10s",
        help="Time that a script gets to end by itself before it is killed.",
    )
    task_timeout_s: float = setting(
        Duration(),
        key="execution.task_timeout",
        environment=("KERUTA_TASK_TIMEOUT",),
        default="0s",
        help="Time that a script may take, unless its parameters.timeout says otherwise; 0: any.",
    )
    stop_timeout_s: float = setting(
        Duration(),
        key="execution.stop_timeout",
        environment=("KERUTA_STOP_TIMEOUT",),
        default="0s",
        help="Time that a stopping daemon waits for the running task to finish; 0: any.",
    )
    pass_environment: tuple[str, ...] = setting(
        Names(),
        key="execution.pass_environment",
        environment=("KERUTA_PASS_ENVIRONMENT",),
        default=(),
        help="More variables that scripts may see, as patterns such as [AWS_*, HTTP_PROXY].",
    )


_INHERITED = {
    name
    for inherited in (GitSettings, LoggingSettings, RunnerSettings)
    for name in inherited.__annotations__
}
#: The agent's own before those that it inherits.
_DECLARED = sorted(dataclasses.fields(Settings), key=lambda field: field.name in _INHERITED)
_FIELDS: dict[str, marshmallow_fields.Field[Any]] = {
    field.name: field.metadata["field"] for field in _DECLARED
}

#: The marshmallow schema of all settings; its fields' metadata hold what SettingInfo tells.
SettingsSchema = Schema.from_dict(_FIELDS, name="SettingsSchema")


def _option(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")


#: All settings in the order of their declaration.
SETTINGS: tuple[SettingInfo, ...] = tuple(
    SettingInfo(**{"name": name, "flag": _option(name), **field.metadata})
    for name, field in _FIELDS.items()
)


def shown(settings: Settings) -> dict[str, Any]:
    """Return each setting as a person may see it, ready for JSON.

    Durations and sizes have their units, the token and a password in the address are masked.
    """
    return cast("dict[str, Any]", SettingsSchema().dump(settings))
