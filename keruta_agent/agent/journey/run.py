"""The biography of one task: from the claim to the end that is reported to the API.

Every stage can be cut off by ``kill -9``. The next daemon comes through here again, finds the run
that has not ended, and goes on where the records and the run directory say that it was.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TypedDict

from keruta_agent.agent.delivery.select_artifacts import Taken
from keruta_agent.agent.journey import (
    announce,
    claim,
    collect,
    conclude,
    execute,
    finish,
    follow,
    on_failure,
    prepare,
    quarantine,
)
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import JobStoppedError, RunContext
from keruta_agent.agent.run import processes
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.launch import NeverStartedError
from keruta_agent.agent.store.run import Outcome, RunResult
from keruta_agent.core import errors
from keruta_agent.core.log import context

logger = logging.getLogger(__name__)


class _Choice(TypedDict):
    """Which of the waiting jobs may run now."""

    only_local: bool
    new_tasks: bool
    claimed: frozenset[str]


def run_next(agent: Agent) -> RunResult | None:
    """Bring the run that has not ended, else the next job, to its end; None when idle."""
    ctx = _take_up(agent) or _claim_next(agent)
    return None if ctx is None else run_to_end(ctx)


def _take_up(agent: Agent) -> RunContext | None:
    """Return the run that an earlier agent left, None when there is none."""
    ctx = RunContext.of_active(agent)
    if ctx is not None:
        execute.take_up(ctx)
        if not execute.is_running(ctx):  # else the next poll asks, and nothing waits for it
            announce.still_wanted(ctx)
    return ctx


def _claim_next(agent: Agent) -> RunContext | None:
    """Claim the next job, None when none may run."""
    jobs = agent.records.jobs
    if jobs.seconds_to_next() == 0.0:
        # Woken here too, so that a job that is due again goes before what is younger.
        jobs.wake_due()
    claimed = agent.records.runs.claim_next(**_choice(agent))
    return None if claimed is None else RunContext(agent, *claimed)


def has_next(agent: Agent) -> bool:
    """Return whether a run has not ended, or a job may run now."""
    if agent.records.runs.active() is not None:
        return True
    jobs = agent.records.jobs
    return jobs.pause_reason() is None and jobs.next_waiting(**_choice(agent)) is not None


def _choice(agent: Agent) -> _Choice:
    return {
        "only_local": agent.writes.problem is not None,
        "new_tasks": agent.ownership.takes_new_tasks(),
        "claimed": agent.ownership.claimed,
    }


def run_to_end(ctx: RunContext) -> RunResult | None:
    """Bring a claimed run to its end; None when it was taken back before anything began."""
    with context.about(job=ctx.job.id, task=ctx.job.task_id, run=ctx.run.uid):
        return _run_to_end(ctx)


def _run_to_end(ctx: RunContext) -> RunResult | None:
    record: ExitRecord | None = None
    artifacts: list[Taken] = []
    try:
        quarantine.refuse_if_failing(ctx)
        record = _run_script(ctx)
        ctx.enter("finish")
        result = finish.judge(ctx, record)
        result = conclude.conclude(ctx, result)
        artifacts = collect.copy_artifacts(ctx)
    except claim.WithdrawnError:
        return None
    except JobStoppedError as exc:
        result = RunResult(outcome=finish.STOPPED[exc.kind], message=str(exc))
    except quarantine.QuarantinedError as exc:
        result = RunResult(outcome=Outcome.QUARANTINED, message=str(exc))
    except execute.VanishedError:
        _end_processes(ctx)
        result = finish.judge(ctx, None)
    except errors.RunError as exc:
        result = _broken_off(ctx, exc)
    return _store(ctx, result, record, artifacts)


def _run_script(ctx: RunContext) -> ExitRecord | None:
    """Start the script, unless an earlier agent has, and follow it to its end."""
    shim = execute.adopt(ctx)
    if shim is not None:
        record = follow.until_end(ctx, shim)
        processes.reap(shim)
        return record
    claimed = claim.obtain(ctx)
    execute.renew_directory(ctx)
    announce.announce(ctx)
    script = prepare.read_script(ctx, claimed)
    ctx.enter("prepare")
    plan = prepare.plan(ctx, script)
    return follow.until_end(ctx, execute.start(ctx, plan))


def _broken_off(ctx: RunContext, error: errors.RunError) -> RunResult:
    """Return the result of a run that cannot go on.

    Only what is certain never to have started may be run again: once a shim has its order, a run
    is lost unless there is proof of that.
    """
    ctx.refresh()
    has_order = ctx.run.shim is not None or ctx.run.shim_pid is not None
    if isinstance(error, NeverStartedError) or not has_order:
        return finish.broken_off(ctx, Outcome.NOT_STARTED, str(error))
    _end_processes(ctx)
    return finish.broken_off(ctx, Outcome.LOST, str(error))


def _end_processes(ctx: RunContext) -> None:
    """End what is left of a script that can be followed no more."""
    shim = execute.shim_of(ctx)
    if shim is not None:
        processes.kill_tree(shim, ctx.run.uid)
    follow.sweep(ctx)


def _store(
    ctx: RunContext, result: RunResult, record: ExitRecord | None, artifacts: Sequence[Taken]
) -> RunResult:
    """Store how a run ended and what follows from that, all or nothing, and announce it."""
    result = dataclasses.replace(result, message=ctx.redactor.redact(result.message))
    retried = None
    with ctx.records.database.transaction():
        finish.store(ctx, result, record, artifacts)
        if result.is_failure:
            retried = on_failure.decide(ctx)
    logger.info(
        "job %d ended: %s%s",
        ctx.job.id,
        result.outcome,
        f": {result.message}" if result.message else "",
        extra={
            "action": "run_ended",
            "job": ctx.job.id,
            "task": ctx.job.task_id,
            "run": ctx.run.uid,
        },
    )
    if retried is not None:
        on_failure.log_retry(ctx.job, retried)
    if result.is_failure:
        ctx.agent.queue.job_failed(ctx.job.id)
    return result
