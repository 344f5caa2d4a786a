"""The facts that ``keruta status`` shows: from the daemon's socket and from the agent's database.

Most of it is in the database, so that a daemon is not needed. Nothing is changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.control.commands import Status
from keruta_agent.agent.control.socket import client
from keruta_agent.agent.daemon import lock
from keruta_agent.agent.run.directory import CLOCK_TICKS_A_SECOND
from keruta_agent.agent.store.jobs import Job, JobState
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.process_tree.proc import process_state
from keruta_agent.core.settings.schema import Settings, shown

#: Jobs that wait, and that have ended, of which more than the number is shown.
NEXT_JOBS: Final = 5
LAST_JOBS: Final = 3
#: Pieces of the log in which the last line is looked for.
RECENT_RANGES: Final = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class DaemonFacts:
    """The agent's process."""

    pid: int | None
    answers: bool
    uptime_s: float | None
    version: str | None
    session: str | None
    api_away: bool
    #: Why the API cannot be reached.
    api_problem: str | None = None
    #: What is wrong with the disk of the base directory.
    disk_problem: str | None = None
    #: Why it is not known which session to serve.
    session_problem: str | None = None
    #: Address of its HTTP API, None when that is off.
    http: str | None = None
    #: The agent that serves the session while this one stands by.
    standby: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobFacts:
    """A job in a word or two."""

    job: int
    task: str | None
    name: str
    outcome: str | None = None
    message: str = ""
    #: How long ago it ended.
    ended_s: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunningFacts:
    """What runs now."""

    job: int
    task: str | None
    name: str
    run: int
    progress: int
    progress_message: str
    running_s: float
    last_line: str | None
    #: What the script wants to know from a person.
    question: str | None
    memory_bytes: int | None
    cpu_percent: float | None
    processes: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutboxFacts:
    """What has yet to reach the API."""

    pending: int
    oldest_s: float | None
    #: What the API refused.
    parked: int
    #: Why the first of it could not be sent.
    error: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """The state of one agent at one moment."""

    base_dir: str
    #: None when no daemon runs.
    daemon: DaemonFacts | None
    api_url: str | None
    paused: str | None
    current: RunningFacts | None
    waiting: int
    next: tuple[JobFacts, ...]
    scheduled: int
    #: How many of these wait for their claim at the API, not for a retry.
    unclaimed: int
    #: Seconds until the first job that waits for its retry is due.
    due_s: float | None
    ended: tuple[JobFacts, ...]
    #: Ended jobs of which only the ids are left.
    pruned: int
    outbox: OutboxFacts


def look(settings: Settings) -> Facts:
    """Return how the agent is at this moment.

    Raises:
        AgentStateError: the agent's database cannot be read.
    """
    # Opened anew each time: a base directory may be removed and made again while it is watched.
    records = Records.open_existing(settings.base_dir)
    if records is None:
        return gather(settings, None)
    with contextlib.closing(records):
        return gather(settings, records)


def gather(settings: Settings, records: Records | None) -> Facts:
    """Return how the agent is; without records, no agent has run here yet."""
    answer = _answer(settings.base_dir)
    daemon = _daemon(settings.base_dir, answer)
    # The daemon may have been given another address than we were.
    api_url = (answer or {}).get("api", shown(settings)["api_url"])
    common = {"base_dir": str(settings.base_dir), "daemon": daemon, "api_url": api_url}
    if records is None:
        nothing = OutboxFacts(pending=0, oldest_s=None, parked=0, error=None)
        return Facts(
            **common,
            paused=None,
            current=None,
            waiting=0,
            next=(),
            scheduled=0,
            unclaimed=0,
            due_s=None,
            ended=(),
            pruned=0,
            outbox=nothing,
        )
    counts = records.jobs.counts()
    now = time.time()
    waiting = records.jobs.listing(states=[JobState.WAITING], limit=NEXT_JOBS)
    ended = records.jobs.listing(states=[JobState.FINISHED], limit=LAST_JOBS)
    return Facts(
        **common,
        paused=records.jobs.pause_reason(),
        current=_running(settings, records),
        waiting=counts[JobState.WAITING],
        next=tuple(_job(job, now) for job in waiting),
        scheduled=counts[JobState.SCHEDULED],
        unclaimed=records.withdrawals.count_put_back(),
        due_s=records.jobs.seconds_to_next(),
        ended=tuple(_job(job, now) for job in ended),
        pruned=records.retention.count(),
        outbox=_outbox(records, now),
    )


def _answer(base_dir: Path) -> dict[str, Any] | None:
    """Return what the daemon says of itself, None when none answers."""
    try:
        return client.ask(base_dir, Status(), timeout_s=client.STATUS_TIMEOUT_S)
    except errors.KerutaError:
        return None


def _daemon(base_dir: Path, answer: dict[str, Any] | None) -> DaemonFacts | None:
    if answer is None:
        if not lock.is_held(base_dir):
            return None
        pid = lock.holder(base_dir)
        return DaemonFacts(
            pid=pid,
            answers=False,
            uptime_s=_age(pid),
            version=None,
            session=None,
            api_away=False,
        )
    pid = answer.get("pid")
    return DaemonFacts(
        pid=pid,
        answers=True,
        uptime_s=_age(pid),
        version=answer.get("version"),
        session=answer.get("session"),
        api_away=bool(answer.get("api_away")),
        api_problem=answer.get("api_problem"),
        disk_problem=answer.get("disk_problem"),
        session_problem=answer.get("session_problem"),
        http=answer.get("http"),
        standby=answer.get("standby"),
    )


def _age(pid: int | None) -> float | None:
    """Return for how many seconds a process has lived."""
    found = None if pid is None else process_state(pid)
    return None if found is None else boot_seconds() - found[1] / CLOCK_TICKS_A_SECOND


def _job(job: Job, now: float) -> JobFacts:
    ended_s = None if job.finished_at is None else max(0.0, now - job.finished_at)
    return JobFacts(
        job=job.id,
        task=job.task_id,
        name=job.name,
        outcome=job.outcome,
        message=job.message,
        ended_s=ended_s,
    )


def _running(settings: Settings, records: Records) -> RunningFacts | None:
    active = records.runs.active()
    if active is None:
        return None
    job, run = active
    usage = records.usages.get(run.id)
    question = records.questions.open_of_job(job.id)
    return RunningFacts(
        job=job.id,
        task=job.task_id,
        name=job.name,
        run=run.number,
        progress=run.progress,
        progress_message=run.progress_message,
        running_s=max(
            0.0,
            # An agent before an upgrade noted only when its turn came.
            time.time() - run.claimed_at
            if run.launched_at is None
            else boot_seconds() - run.launched_at,
        ),
        last_line=_last_line(settings, records, run),
        question=None if question is None else question.prompt,
        memory_bytes=None if usage is None else usage.memory_bytes,
        cpu_percent=None if usage is None else usage.cpu_percent,
        processes=None if usage is None else usage.processes,
    )


def _last_line(settings: Settings, records: Records, run: Run) -> str | None:
    """Return the last line of the log that is not empty, with its secrets masked.

    What the script printed goes before its messages to the agent at about the same time: that is
    shown as its progress.
    """
    from keruta_agent.agent.daemon.wiring import make_log_reader

    first = max(0, records.runs.range_count(run.id) - RECENT_RANGES)
    pieces = records.runs.ranges(run.id, first=first, limit=RECENT_RANGES)
    reader, _ = make_log_reader(settings, records)
    for piece in sorted(pieces, key=lambda piece: (piece.stream == "agent", -piece.sequence)):
        try:
            entries = reader.read(run.id, [piece])
        except OSError:  # the script, or somebody, removed its files
            return None
        for entry in reversed(entries):
            if entry.message.strip():
                return entry.message
    return None


def _outbox(records: Records, now: float) -> OutboxFacts:
    counts = records.outbox.counts()
    oldest_s = None if counts.oldest is None else max(0.0, now - counts.oldest)
    return OutboxFacts(
        pending=counts.pending,
        oldest_s=oldest_s,
        parked=counts.dead_letters,
        error=records.outbox.last_error(),
    )


def advice(facts: Facts) -> list[str]:
    """Return what a person could do now, the most urgent first."""
    found = []
    if facts.daemon is None:
        waits = facts.waiting or facts.scheduled or facts.current or facts.outbox.pending
        found.append(
            "Start a daemon, which goes on with all of this: keruta daemon"
            if waits
            else "Start a daemon: keruta daemon"
        )
    elif not facts.daemon.answers:
        found.append("The daemon does not answer. Look at its log; if it hangs, start it anew")
    if facts.current is not None and facts.current.question is not None:
        found.append(f"The script waits for an answer: keruta input {facts.current.job} TEXT")
    if facts.paused is not None:
        found.append("Let jobs start again: keruta queue resume")
    if facts.daemon is not None and facts.daemon.standby is not None:
        found.append("Stop this agent or the other one; this one takes over when that is silent")
    if facts.daemon is not None and facts.daemon.api_away:
        found.append("See what is wrong with the API: keruta health --check-api")
    if facts.outbox.parked:
        found.append(
            "See what the API did not get, and why: keruta queue list --all, keruta explain"
        )
    if facts.ended and facts.ended[0].outcome not in ("succeeded", "cancelled", "refused"):
        found.append(f"See why the last job failed: keruta explain {facts.ended[0].job}")
    return found


def as_json(facts: Facts) -> dict[str, Any]:
    """Return the facts for programs."""
    return {**dataclasses.asdict(facts), "advice": advice(facts)}


#: What changes by itself while nothing happens.
_VOLATILE: Final = frozenset(
    {
        "uptime_s",
        "ended_s",
        "running_s",
        "memory_bytes",
        "cpu_percent",
        "processes",
        "oldest_s",
        "due_s",
    }
)


def essence(facts: Facts) -> object:
    """Return the facts without what changes while nothing happens."""
    return _essence(dataclasses.asdict(facts))


def _essence(value: object) -> object:
    if isinstance(value, dict):
        return {name: _essence(item) for name, item in value.items() if name not in _VOLATILE}
    if isinstance(value, list | tuple):
        return [_essence(item) for item in value]
    return value
