"""What a run is: one execution of a job, how it ended, and the pieces of its log."""

from __future__ import annotations

import dataclasses
import enum
import sqlite3

from keruta_agent.core.model import TaskStatus


class Outcome(enum.StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    #: The script ended with an exit code other than 0, or said itself that it failed.
    FAILED = "failed"
    KILLED = "killed"
    TIMED_OUT = "timed_out"
    #: It waited for an answer that nobody gave.
    INPUT_TIMEOUT = "input_timeout"
    CANCELLED = "cancelled"
    #: The agent was stopped, and its script with it.
    AGENT_STOPPED = "agent_stopped"
    #: The processes are gone and left no exit record: a reboot, or somebody killed them all.
    LOST = "lost"
    #: The kernel killed it because memory ran out.
    OUT_OF_MEMORY = "out_of_memory"
    #: The script failed, and a disk that it works on had no room left.
    DISK_FULL = "disk_full"
    NOT_STARTED = "not_started"
    #: The script succeeded, and what it changed could not be brought to the repository.
    NOT_PUSHED = "not_pushed"
    #: The agent itself failed at it again and again; it is set aside with its evidence.
    QUARANTINED = "parked"
    #: The API said that this task is not to be run by us.
    REFUSED = "refused"


#: Outcomes after which nothing more is decided. After all others a retry or an auto-fix may follow.
_FINAL = frozenset({Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.REFUSED})

#: The streams of a run's log, in the order in which they are read.
STREAMS = ("stdout", "stderr", "agent")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One execution of a job."""

    id: int
    job_id: int
    #: 1 for the first run of the job.
    number: int
    #: Random name: marks the run's processes and keys its writes at the API.
    uid: str
    #: What a script must know to speak for this run on the socket.
    token: str = dataclasses.field(repr=False)
    #: Name of the run directory, inside the directory of runs.
    directory: str
    #: The shim above the script; None until it is known to have started it.
    shim_pid: int | None
    #: That process as ``ProcessId.line`` writes it, stored before it can start the script.
    shim: str | None
    #: Seconds since boot at which it was asked to.
    launched_at: float | None
    #: What a proved exit record answers to (runs/exit_record.py).
    exit_digest: str | None
    #: Where the run works, as JSON; None where it works in no repository.
    place: str | None
    #: Whether the hook after the task was run.
    post_hook_done: bool
    claimed_at: float
    ended_at: float | None
    progress: int
    progress_message: str
    #: What the script itself said about its end.
    reported_status: TaskStatus | None
    reported_message: str
    reported_error_code: str
    #: Whether the script asked for an auto-fix task, or for none; None leaves it to the settings.
    wants_auto_fix: bool | None
    artifacts_dir: str | None
    outcome: Outcome | None
    exit_code: int | None
    signal: int | None
    message: str
    #: What the agent is doing with the run; None while it only follows the script.
    stage: str | None
    #: How often the agent failed or died in a stage, in a row.
    agent_failures: int
    #: Whether the task is this agent's to run: claimed, or found to be begun by nobody else.
    is_owned: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogRange:
    """A piece of one of a run's files, in the order in which the agent saw it."""

    sequence: int
    stream: str
    start: int
    stop: int
    #: Unix time at which it was seen.
    read_at: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended, as it is stored."""

    outcome: Outcome
    message: str
    exit_code: int | None = None
    signal: int | None = None

    @property
    def is_failure(self) -> bool:
        """Whether a retry or an auto-fix may follow."""
        return self.outcome not in _FINAL


_RUN_FIELDS = tuple(field.name for field in dataclasses.fields(Run))


def run_of(row: sqlite3.Row) -> Run:
    """Read a row of the table of runs."""
    values = {name: row[name] for name in _RUN_FIELDS}
    values["is_owned"] = bool(values["is_owned"])
    if values["wants_auto_fix"] is not None:
        values["wants_auto_fix"] = bool(values["wants_auto_fix"])
    values["post_hook_done"] = bool(values["post_hook_done"])
    if values["reported_status"] is not None:
        values["reported_status"] = TaskStatus(values["reported_status"])
    if values["outcome"] is not None:
        values["outcome"] = Outcome(values["outcome"])
    return Run(**values)
