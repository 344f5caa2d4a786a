"""How a run ended, and the record of that with all that is to be reported of it to the API."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from keruta_agent.agent.delivery import groups
from keruta_agent.agent.delivery.select_artifacts import Taken
from keruta_agent.agent.journey import collect, execute
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.input import ask
from keruta_agent.agent.journey.observe import loglimit, measure
from keruta_agent.agent.run import output
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.resources import memory
from keruta_agent.agent.store.jobs import JobState, StopKind
from keruta_agent.agent.store.outbox import Kind
from keruta_agent.agent.store.run import Outcome, Run, RunResult
from keruta_agent.agent.store.usage import Usage
from keruta_agent.core.boot_clock import boot_id
from keruta_agent.core.model import StatusReport, TaskStatus

#: Last lines of the output that a failure's message carries.
EVIDENCE_LINES = 3

#: What a run that was stopped has come to.
STOPPED = {
    StopKind.CANCELLED: Outcome.CANCELLED,
    StopKind.TIMED_OUT: Outcome.TIMED_OUT,
    StopKind.INPUT_TIMEOUT: Outcome.INPUT_TIMEOUT,
    StopKind.AGENT_STOPPED: Outcome.AGENT_STOPPED,
    StopKind.REFUSED: Outcome.REFUSED,
}


def judge(ctx: RunContext, record: ExitRecord | None) -> RunResult:
    """Return how a run ended, from the exit record and what the script itself said."""
    ctx.agent.stops.store(ctx.job.id)
    ctx.refresh()
    job, run, directory = ctx.job, ctx.run, ctx.directory
    if job.stop_kind is StopKind.REFUSED:
        return RunResult(outcome=Outcome.REFUSED, message=job.stop_reason or "")
    # A shim that did not obey was killed by the agent, before it could record anything.
    if job.stop_kind is not None and (record is None or record.stopped):
        message = job.stop_reason or "The script was stopped"
        if job.stop_kind is StopKind.TIMED_OUT:  # the others say who wanted it, or the question
            message = _with_evidence(message, directory)
        return _result(STOPPED[job.stop_kind], message, record)
    if record is None:
        return _lost(ctx)
    if record.error is not None:
        return RunResult(
            outcome=Outcome.NOT_STARTED, message=f"The script could not be started: {record.error}"
        )
    if memory.ran_out(directory, record):
        message = "The kernel killed the script: memory ran out"
        return _result(Outcome.OUT_OF_MEMORY, _with_evidence(message, directory), record)
    if record.stopped:  # a machine that shuts down ends its processes one by one
        message = "The process that looked after the script was asked to end, and stopped it"
        return _result(Outcome.AGENT_STOPPED, _with_evidence(message, directory), record)
    if record.full is not None and _has_failed(record) and not run.reported_status:
        message = f"The script {_how_it_failed(record)}, and the disk of {record.full} was full"
        return _result(Outcome.DISK_FULL, _with_evidence(message, directory), record)
    if record.signal is not None:
        message = f"The script {_how_it_failed(record)}"
        return _result(Outcome.KILLED, _with_evidence(message, directory), record)
    return _by_exit_code(run, directory, record)


def broken_off(ctx: RunContext, outcome: Outcome, message: str) -> RunResult:
    """Return the result of a run that cannot go on, unless it was to stop anyway."""
    ctx.refresh()
    if ctx.job.stop_kind is not None:
        return RunResult(outcome=STOPPED[ctx.job.stop_kind], message=ctx.job.stop_reason or "")
    return RunResult(outcome=outcome, message=message)


def _result(outcome: Outcome, message: str, record: ExitRecord | None) -> RunResult:
    return RunResult(
        outcome=outcome,
        message=message,
        exit_code=None if record is None else record.exit_code,
        signal=None if record is None else record.signal,
    )


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


def _lost(ctx: RunContext) -> RunResult:
    directory = ctx.directory
    shim = execute.shim_of(ctx)
    if shim is None or not directory.path.is_dir():
        message = "The run directory was removed while the script ran: its end is not known"
    elif shim.boot_id != boot_id():
        message = "The machine was restarted while the script ran"
    elif ctx.run.exit_digest is None:
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
    ctx: RunContext, result: RunResult, record: ExitRecord | None, taken: Sequence[Taken]
) -> None:
    """Store the end of a run; a failure leaves the job ``failing`` until more is decided."""
    records = ctx.records
    with records.database.transaction():
        ask.close(ctx)
        state = JobState.FAILING if result.is_failure else JobState.FINISHED
        records.runs.end(ctx.job, ctx.run, result, job_state=state)
        ctx.refresh()
        usage = measure.settle(ctx, record)
        _count(ctx, result, usage)
        if result.outcome is Outcome.REFUSED:
            return
        loglimit.release(ctx)
        collect.store(ctx, taken)
        if ctx.job.task_id is None:
            return
        if usage is not None:
            records.outbox.add(
                Kind.METRICS,
                ctx.job.task_id,
                measure.payload(usage, records.usages.samples(ctx.run.id), ctx.run, record),
                run_id=ctx.run.id,
                key=f"{ctx.run.uid}-metrics",
            )
        if not result.is_failure:
            report_end(ctx, result)


def report_end(ctx: RunContext, result: RunResult) -> None:
    """Queue the task's terminal state, behind everything else that the API is to know of it."""
    if ctx.job.task_id is None:
        return
    run = ctx.run
    succeeded = result.outcome is Outcome.SUCCEEDED
    report = StatusReport(
        status=TaskStatus.COMPLETED if succeeded else TaskStatus.FAILED,
        message=result.message,
        progress=100 if succeeded else run.progress,
        error_code="" if succeeded else error_code(run, result),
    )
    ctx.records.outbox.add_status(ctx.job.task_id, report, run_id=run.id, key=f"{run.uid}-ended")


def error_code(run: Run, result: RunResult) -> str:
    """Return the machine-readable reason: the script's own, else what ended it."""
    if result.outcome is Outcome.FAILED:
        if run.reported_status is TaskStatus.FAILED:
            return run.reported_error_code or "REPORTED"
        return f"EXIT_{result.exit_code}"
    if result.outcome is Outcome.KILLED:
        return f"SIGNAL_{result.signal}"
    return result.outcome.value.upper()


def _count(ctx: RunContext, result: RunResult, usage: Usage | None) -> None:
    """Add an ended run to the totals over all runs."""
    reason = "" if result.outcome is Outcome.SUCCEEDED else error_code(ctx.run, result)
    seconds = 0.0 if usage is None else usage.wall_s or 0.0
    offsets = ctx.records.runs.offsets(ctx.run.id)
    captured = {stream: offsets[stream] for stream in ("stdout", "stderr")}
    ctx.records.counters.count_end(ctx.run, reason, seconds, captured)


def _with_evidence(message: str, directory: RunDirectory) -> str:
    """Add the last lines of what the script wrote, of its errors rather than its output."""
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
