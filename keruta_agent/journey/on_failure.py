"""Decides what follows a failed run: a retry, or the end of the job and an auto-fix task.

Triggered by the work queue's failure signal. The decision is one transaction, and jobs that wait
for it are in the state ``failing``, so that a daemon that was killed between the failure and the
decision takes it at its next start.
"""

from __future__ import annotations

import logging
from typing import Final

from keruta_agent import model
from keruta_agent.journey import finish, retry
from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Job, StopKind
from keruta_agent.records.outbox import Kind
from keruta_agent.records.run import Outcome, Run, RunResult
from keruta_agent.units import format_duration

logger = logging.getLogger(__name__)

#: Failures that a changed script could avoid. Not an interrupted run: there is nothing to fix.
_FIXABLE = frozenset({Outcome.FAILED, Outcome.KILLED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY})


#: How the line begins that says that a task will be repeated.
REPEATED: Final = "The run failed; the task is tried"


def settle(agent: Agent) -> None:
    """Settles every job of which a run failed."""
    while _settle_one(agent):
        pass
    agent.queue.outbox_filled()


def _settle_one(agent: Agent) -> bool:
    """Settles one failing job; tells whether there was one."""
    # Read inside the transaction: a cancel that came a moment ago must not be overwritten.
    with agent.records.database.transaction():
        failing = agent.records.jobs.failing()
        if failing:
            run = agent.records.runs.of_job(failing[0].id)[-1]
            if not _try_again(agent, failing[0], run):
                _give_up(agent, failing[0], run)
        return bool(failing)


def _try_again(agent: Agent, job: Job, run: Run) -> bool:
    """Lets the job run again if its rule says so; tells whether it does."""
    if job.stop_kind in (StopKind.CANCELLED, StopKind.REFUSED):
        return False
    try:
        rule = retry.rule_for(job, agent.settings)
    except ValueError as exc:
        logger.warning(
            "job %d is not tried again, because its rule makes no sense: %s",
            job.id,
            exc,
            extra={"action": "retry_rule_wrong", "job": job.id, "task": job.task_id},
        )
        agent.records.journal.add("retry_rule_wrong", job.id, run.number, reason=str(exc))
        return False
    if not rule.allows(run):
        return False
    wait_s = rule.wait_s(run)
    agent.records.jobs.schedule(job.id, wait_s)
    agent.records.journal.add(
        "retry", job.id, run.number, wait_s=round(wait_s, 1), left=rule.count - run.number
    )
    if run.number == 1:
        _tell_of_retries(agent, job, run, rule, wait_s)
    logger.info(
        "job %d is tried again in %.1f seconds, retry %d of %d",
        job.id,
        wait_s,
        run.number,
        rule.count,
        extra={"action": "retry_scheduled", "job": job.id, "task": job.task_id},
    )
    return True


def _tell_of_retries(
    agent: Agent, job: Job, run: Run, rule: retry.RetryRule, wait_s: float
) -> None:
    """Say in the task's log that it will be repeated, and what stops that."""
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
    agent.records.outbox.add(
        Kind.LOG_LINE, job.task_id, line, run_id=run.id, key=f"{run.uid}-repeated"
    )


def _give_up(agent: Agent, job: Job, run: Run) -> None:
    """Ends the job as failed, and asks for an auto-fix task where one may help."""
    result = _ending(run)
    agent.records.jobs.finish(job.id)
    finish.report_end(agent, job, run, result)
    if job.task_id is None or not _wants_auto_fix(agent, run):
        return
    code = finish.error_code(run, result)
    if model.has_failed_so_before(job.work.parameters, code, result.message):
        agent.records.journal.add(
            "no_auto_fix", job.id, run.number, reason="the same failure twice"
        )
        logger.warning(
            "no auto-fix for job %d: the fix failed just as the task before it",
            job.id,
            extra={"action": "auto_fix_declined", "job": job.id, "task": job.task_id},
        )
        return
    agent.records.journal.add("auto_fix", job.id, run.number)
    agent.records.outbox.add(
        Kind.AUTO_FIX,
        job.task_id,
        {"error_message": result.message, "error_code": code},
        run_id=run.id,
        key=f"{run.uid}-auto-fix",
    )


def _wants_auto_fix(agent: Agent, run: Run) -> bool:
    if run.outcome not in _FIXABLE:
        return False
    return agent.settings.auto_fix if run.wants_auto_fix is None else run.wants_auto_fix


def _ending(run: Run) -> RunResult:
    return RunResult(
        outcome=run.outcome or Outcome.LOST,
        message=run.message,
        exit_code=run.exit_code,
        signal=run.signal,
    )
