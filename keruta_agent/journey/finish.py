"""Judges how a run ended and stores it, together with all that the API is to be told of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from keruta_agent.journey import ask, collect, execute, groups, loglimit, measure
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.select_artifacts import Taken
from keruta_agent.model import StatusReport, TaskStatus
from keruta_agent.records.clock import boot_id
from keruta_agent.records.jobs import Job, JobState, StopKind
from keruta_agent.records.outbox import Kind
from keruta_agent.records.run import Outcome, Run, RunResult
from keruta_agent.records.usage import Usage
from keruta_agent.runs import memory, output
from keruta_agent.runs.directory import RunDirectory
from keruta_agent.runs.exit_record import ExitRecord

#: Last lines of the output that a failure's message carries.
EVIDENCE_LINES = 3

#: Outcomes after which nothing more is decided. After all others a retry or an auto-fix may follow.
_FINAL = frozenset({Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.REFUSED})

#: What a run that was stopped has come to.
STOPPED = {
    StopKind.CANCELLED: Outcome.CANCELLED,
    StopKind.TIMED_OUT: Outcome.TIMED_OUT,
    StopKind.INPUT_TIMEOUT: Outcome.INPUT_TIMEOUT,
    StopKind.AGENT_STOPPED: Outcome.AGENT_STOPPED,
    StopKind.REFUSED: Outcome.REFUSED,
}


def judge(agent: Agent, job: Job, run: Run, record: ExitRecord | None) -> RunResult:
    """Returns how a run ended, from the exit record and what the script itself said."""
    directory = agent.directory_of(run)
    agent.stops.store(job.id)
    current = agent.records.jobs.get(job.id) or job
    if current.stop_kind is StopKind.REFUSED:
        return RunResult(outcome=Outcome.REFUSED, message=current.stop_reason or "")
    # A shim that did not heed the request was killed by us, before it could record anything.
    if current.stop_kind is not None and (record is None or record.stopped):
        message = current.stop_reason or "The script was stopped"
        if current.stop_kind is StopKind.TIMED_OUT:  # the others say who wanted it, or the question
            message = _with_evidence(message, directory)
        return RunResult(
            outcome=STOPPED[current.stop_kind],
            message=message,
            exit_code=None if record is None else record.exit_code,
            signal=None if record is None else record.signal,
        )
    if record is None:
        return _lost(agent, run, directory)
    if record.error is not None:
        return RunResult(
            outcome=Outcome.NOT_STARTED, message=f"The script could not be started: {record.error}"
        )
    if memory.ran_out(directory, record):
        return RunResult(
            outcome=Outcome.OUT_OF_MEMORY,
            message=_with_evidence("The kernel killed the script: memory ran out", directory),
            exit_code=record.exit_code,
            signal=record.signal,
        )
    if record.stopped:  # a machine that shuts down ends its processes one by one
        return RunResult(
            outcome=Outcome.AGENT_STOPPED,
            message=_with_evidence(
                "The process that looked after the script was asked to end, and stopped it",
                directory,
            ),
            exit_code=record.exit_code,
            signal=record.signal,
        )
    run = agent.records.runs.get(run.id)
    if record.full is not None and _has_failed(record) and not run.reported_status:
        return RunResult(
            outcome=Outcome.DISK_FULL,
            message=_with_evidence(
                f"The script {_how_it_failed(record)}, and the disk of {record.full} was full",
                directory,
            ),
            exit_code=record.exit_code,
            signal=record.signal,
        )
    if record.signal is not None:
        return RunResult(
            outcome=Outcome.KILLED,
            signal=record.signal,
            message=_with_evidence(f"The script {_how_it_failed(record)}", directory),
        )
    return _by_exit_code(run, directory, record)


def not_started(agent: Agent, job: Job, message: str) -> RunResult:
    """Returns the end of a run whose script did not start, perhaps because it was to stop."""
    current = agent.records.jobs.get(job.id) or job
    if current.stop_kind is not None:
        return RunResult(outcome=STOPPED[current.stop_kind], message=current.stop_reason or "")
    return RunResult(outcome=Outcome.NOT_STARTED, message=message)


def _has_failed(record: ExitRecord) -> bool:
    return record.signal is not None or bool(record.exit_code)


def _how_it_failed(record: ExitRecord) -> str:
    if record.signal is not None:
        return f"was killed by signal {record.signal} ({_signal_name(record.signal)})"
    return f"exited with code {record.exit_code}"


def _by_exit_code(run: Run, directory: RunDirectory, record: ExitRecord) -> RunResult:
    exit_code = record.exit_code or 0
    if exit_code == 0 and run.reported_status is not TaskStatus.FAILED:
        return RunResult(outcome=Outcome.SUCCEEDED, message=run.reported_message, exit_code=0)
    if run.reported_status is TaskStatus.FAILED:
        message = run.reported_message or "The script reported a failure"
    elif run.reported_status is TaskStatus.COMPLETED:
        message = f"The script reported success, then {_how_it_failed(record)}"
    else:
        message = _with_evidence(f"The script {_how_it_failed(record)}", directory)
    return RunResult(outcome=Outcome.FAILED, message=message, exit_code=exit_code)


def _lost(agent: Agent, run: Run, directory: RunDirectory) -> RunResult:
    run = agent.records.runs.get(run.id)
    shim = execute.shim_of(agent, run)
    if shim is None or not directory.path.is_dir():
        message = "The run directory was removed while the script ran: its end is not known"
    elif shim.boot_id != boot_id():
        message = "The machine was restarted while the script ran"
    elif run.exit_digest is None:
        message = (
            "agent.db was put back from a copy that is older than this run, so that nothing shows "
            "how its script ended; it is not run again unless its retry rule names lost"
        )
    elif os.path.lexists(directory.exit):
        message = (
            "What looked after the script is gone, and the record of its end is not shown to be "
            "from there"
        )
    else:
        message = "The script's processes were killed from outside, without an exit record"
    return RunResult(outcome=Outcome.LOST, message=_with_evidence(message, directory))


def store(
    agent: Agent,
    job: Job,
    run: Run,
    result: RunResult,
    record: ExitRecord | None,
    taken: Sequence[Taken],
) -> None:
    """Stores the end of a run; a failure leaves the job ``failing`` until it is mended."""
    failed = result.outcome not in _FINAL
    with agent.records.database.transaction():
        ask.close(agent, job, run)
        agent.records.runs.end(
            job, run, result, job_state=JobState.FAILING if failed else JobState.FINISHED
        )
        usage = measure.settle(agent, run, record)
        _count(agent, run, result, usage)
        if result.outcome is Outcome.REFUSED:
            return
        loglimit.release(agent, job, run)
        collect.store(agent, job, run, taken)
        if job.task_id is None:
            return
        if usage is not None:
            agent.records.outbox.add(
                Kind.METRICS,
                job.task_id,
                measure.payload(usage, agent.records.usages.samples(run.id), run, record),
                run_id=run.id,
                key=f"{run.uid}-metrics",
            )
        if not failed:
            report_end(agent, job, run, result)


def report_end(agent: Agent, job: Job, run: Run, result: RunResult) -> None:
    """Queues the task's terminal state, behind everything else that the API is to know of it."""
    if job.task_id is None:
        return
    current = agent.records.runs.get(run.id)
    succeeded = result.outcome is Outcome.SUCCEEDED
    report = StatusReport(
        status=TaskStatus.COMPLETED if succeeded else TaskStatus.FAILED,
        message=result.message,
        progress=100 if succeeded else current.progress,
        error_code="" if succeeded else error_code(current, result),
    )
    agent.records.outbox.add_status(job.task_id, report, run_id=run.id, key=f"{run.uid}-ended")


def error_code(run: Run, result: RunResult) -> str:
    """Returns the machine-readable reason: the script's own, else what ended it."""
    if result.outcome is Outcome.FAILED:
        if run.reported_status is TaskStatus.FAILED:
            return run.reported_error_code or "REPORTED"
        return f"EXIT_{result.exit_code}"
    if result.outcome is Outcome.KILLED:
        return f"SIGNAL_{result.signal}"
    return result.outcome.value.upper()


def _count(agent: Agent, run: Run, result: RunResult, usage: Usage | None) -> None:
    """Adds an ended run to the totals over all runs."""
    ended = agent.records.runs.get(run.id)
    reason = "" if result.outcome is Outcome.SUCCEEDED else error_code(ended, result)
    seconds = 0.0 if usage is None else usage.wall_s or 0.0
    offsets = agent.records.runs.offsets(run.id)
    captured = {stream: offsets[stream] for stream in ("stdout", "stderr")}
    agent.records.counters.count_end(ended, reason, seconds, captured)


def _with_evidence(message: str, directory: RunDirectory) -> str:
    """Adds the last lines of what the script wrote, of its errors rather than its output."""
    for stream, begin in (("stderr", 0), ("stdout", directory.script_begins())):
        tail = output.tail(directory.path / stream, 3 * EVIDENCE_LINES, begin=begin)
        lines = [line for line in tail if line and not groups.is_marker(line)][-EVIDENCE_LINES:]
        if lines:
            return f"{message}: {' | '.join(lines)}"
    return message


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time ones have no names of their own
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
