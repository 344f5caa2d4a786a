"""What follows a failed run: a retry, or the end of the job and an auto-fix task.

The decision is part of the transaction that stores the end of the run, so no agent that is killed
leaves a failure without one.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Final

from keruta_agent.agent.journey import finish, retry
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.store.jobs import Job, StopKind
from keruta_agent.agent.store.outbox import Kind
from keruta_agent.agent.store.run import Outcome, Run, RunResult
from keruta_agent.core import model
from keruta_agent.core.units import format_duration

logger = logging.getLogger(__name__)

#: Failures that a changed script could avoid. Not an interrupted run: there is nothing to fix.
_FIXABLE = frozenset({Outcome.FAILED, Outcome.KILLED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY})

#: How the line begins that says that a task will be repeated.
REPEATED: Final = "The run failed; the task is tried"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """The next run of a job."""

    #: 1 for the first run after the first failure.
    number: int
    most: int
    wait_s: float


def decide(ctx: RunContext) -> Retry | None:
    """Let a job of which a run failed run again, or end it and return None.

    Call it in a transaction: a cancel that came a moment ago must not be overwritten.
    """
    ctx.refresh()
    retried = _try_again(ctx)
    if retried is None:
        _give_up(ctx)
    return retried


def log_retry(job: Job, retried: Retry) -> None:
    """Tell the agent's log of a retry, once it is stored."""
    logger.info(
        "job %d is tried again in %.1f seconds, retry %d of %d",
        job.id,
        retried.wait_s,
        retried.number,
        retried.most,
        extra={"action": "retry_scheduled", "job": job.id, "task": job.task_id},
    )


def decide_left_over(agent: Agent) -> None:
    """Decide what follows the failures that an agent of an older version left undecided."""
    with agent.records.database.transaction():
        for job in agent.records.jobs.failing():
            decide(RunContext(agent, job, agent.records.runs.of_job(job.id)[-1]))


def _try_again(ctx: RunContext) -> Retry | None:
    """Schedule a retry if the job's rule allows one, and return it; None when none follows."""
    job, run, records = ctx.job, ctx.run, ctx.records
    if job.stop_kind in (StopKind.CANCELLED, StopKind.REFUSED):
        return None
    try:
        rule = retry.rule_for(job, ctx.settings)
    except ValueError as exc:
        logger.warning(
            "job %d is not tried again, because its rule is invalid: %s",
            job.id,
            exc,
            extra={"action": "retry_rule_wrong", "job": job.id, "task": job.task_id},
        )
        records.journal.add("retry_rule_wrong", job.id, run.number, reason=str(exc))
        return None
    if not rule.allows(run):
        return None
    wait_s = rule.wait_s(run)
    records.jobs.schedule(job.id, wait_s)
    records.journal.add(
        "retry", job.id, run.number, wait_s=round(wait_s, 1), left=rule.count - run.number
    )
    if run.number == 1:
        _announce_retry(ctx, rule, wait_s)
    return Retry(number=run.number, most=rule.count, wait_s=wait_s)


def _announce_retry(ctx: RunContext, rule: retry.RetryRule, wait_s: float) -> None:
    """Say in the task's log that it will be repeated, and what stops that."""
    job, run = ctx.job, ctx.run
    if job.task_id is None:
        return
    often = "once more" if rule.count == 1 else f"up to {rule.count} times more"
    if job.work.parameters.get("retry") is None:
        setting = "KERUTA_RETRY_COUNT=0, or parameters.retry: 0 of a task"
    else:
        setting = "parameters.retry: 0 of the task"
    message = (
        f"{REPEATED} {often}, first in {format_duration(round(wait_s))}. To stop that: {setting}"
    )
    line = {"level": "WARN", "message": message, "source": "agent"}
    ctx.records.outbox.add(
        Kind.LOG_LINE, job.task_id, line, run_id=run.id, key=f"{run.uid}-repeated"
    )


def _give_up(ctx: RunContext) -> None:
    """End the job as failed, and ask for an auto-fix task where one may help."""
    job, run, records = ctx.job, ctx.run, ctx.records
    result = _result_of(run)
    records.jobs.finish(job.id)
    finish.report_end(ctx, result)
    if job.task_id is None or not _wants_auto_fix(ctx):
        return
    code = finish.error_code(run, result)
    if model.has_failed_so_before(job.work.parameters, code, result.message):
        records.journal.add("no_auto_fix", job.id, run.number, reason="the same failure twice")
        logger.warning(
            "no auto-fix for job %d: the fix failed just as the task before it",
            job.id,
            extra={"action": "auto_fix_declined", "job": job.id, "task": job.task_id},
        )
        return
    records.journal.add("auto_fix", job.id, run.number)
    records.outbox.add(
        Kind.AUTO_FIX,
        job.task_id,
        {"error_message": result.message, "error_code": code},
        run_id=run.id,
        key=f"{run.uid}-auto-fix",
    )


def _wants_auto_fix(ctx: RunContext) -> bool:
    if ctx.run.outcome not in _FIXABLE:
        return False
    asked = ctx.run.wants_auto_fix
    return ctx.settings.auto_fix if asked is None else asked


def _result_of(run: Run) -> RunResult:
    return RunResult(
        outcome=run.outcome or Outcome.LOST,
        message=run.message,
        exit_code=run.exit_code,
        signal=run.signal,
    )
