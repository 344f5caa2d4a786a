"""The claim of a run's task at the API, before anything of it is started.

The run's name is stored first, so that a claim that was made by an agent that was killed is made
again by the next one, and is the same. Servers without claims are asked for the task instead: one
that somebody else has begun is left alone.
"""

from __future__ import annotations

import logging
from typing import Final

from keruta_agent.agent.delivery.writes import may_be_blocked
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import JobStoppedError, RunContext
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.jobs import StopKind
from keruta_agent.core import errors
from keruta_agent.core.model import Task, TaskStatus

logger = logging.getLogger(__name__)

#: The server's word for an agent whose id another living one uses: it passes.
ID_IN_USE: Final = "AGENT_ID_IN_USE"
#: Its word for a task that has ended.
ENDED: Final = "TASK_ENDED"


class WithdrawnError(Exception):
    """The run was taken back before anything of it began."""


class SomebodyElsesError(Exception):
    """Another agent, or a client without a claim, has the task."""


class NotNowError(Exception):
    """The task cannot be claimed now, and must not be run without."""


def obtain(ctx: RunContext) -> Task | None:
    """Make the task of a run this agent's.

    Returns:
        The task as it was claimed; None without a claim, or if the server does not tell.

    Raises:
        WithdrawnError: it cannot be; the run is taken back, and nothing of it began.
        JobStoppedError: the task is not to be run (again).
    """
    if ctx.run.is_owned:
        return None
    try:
        task = _claim(ctx)
    except NotNowError as exc:
        ctx.raise_if_stopped()
        _put_back(ctx, str(exc))
        raise WithdrawnError from exc
    except SomebodyElsesError as exc:
        if ctx.run.number > 1:
            raise JobStoppedError(StopKind.REFUSED, str(exc)) from exc
        _leave_alone(ctx, str(exc))
        raise WithdrawnError from exc
    ctx.run = ctx.records.runs.own(ctx.job, ctx.run)
    return task


def wake_withheld(agent: Agent) -> None:
    """Have the jobs looked at again that were withheld and may be claimed now."""
    if agent.ownership.has_withheld():
        agent.queue.jobs_runnable()


def _claim(ctx: RunContext) -> Task | None:
    agent, job, run = ctx.agent, ctx.job, ctx.run
    if job.task_id is None or agent.api is None:
        return None
    has_claims = agent.ownership.claims.are_known
    if agent.outbox_sender is not None and agent.outbox_sender.api_is_away:
        _go_on_unasked(ctx, "the API is away", has_claims=has_claims)
        return None
    try:
        task = agent.api.claim_task(
            job.task_id, agent.ownership.identity, run=run.uid, begun=run.number > 1
        )
    except (errors.ApiUnsupported, errors.ApiNotFound):
        _look(ctx, agent.api)
    except errors.ApiConflict as exc:
        if exc.code == ID_IN_USE:
            raise NotNowError(exc.message) from exc
        if exc.code == ENDED:
            raise JobStoppedError(StopKind.REFUSED, exc.message) from exc
        raise SomebodyElsesError(exc.message) from exc
    except errors.ApiError as exc:
        if may_be_blocked(exc):
            _refuse_if_blocked(agent, agent.api)
        if has_claims:
            _go_on_unasked(ctx, str(exc), has_claims=True)
        else:
            _look(ctx, agent.api)
    else:
        agent.ownership.claims.learn(True)
        agent.ownership.claim_worked()
        wake_withheld(agent)
        return task
    return None


def _look(ctx: RunContext, api: KerutaApi) -> None:
    """Ask a server without claims whether the task may be run, and its end be reported."""
    _refuse_if_blocked(ctx.agent, api)
    try:
        task = api.task(ctx.job.task_id or "")
    except errors.ApiNotFound as exc:
        reason = "The task was deleted at the API"
        raise JobStoppedError(StopKind.REFUSED, reason) from exc
    except errors.ApiError as exc:
        _go_on_unasked(ctx, str(exc), has_claims=False)
        return
    if task.status.is_terminal:
        reason = f"The task is {task.status} at the API already"
        raise JobStoppedError(StopKind.REFUSED, reason)
    if ctx.run.number == 1 and task.status is not TaskStatus.PENDING:
        reason = f"The task is {task.status} at the API: somebody else has begun it"
        raise SomebodyElsesError(reason)


def _refuse_if_blocked(agent: Agent, api: KerutaApi) -> None:
    """Test a write: a script whose end cannot be reported must not begin.

    Raises:
        NotNowError: none reaches the API.
    """
    blocked = agent.writes.doubt(api)
    if blocked is not None:
        raise NotNowError(blocked.message) from blocked


def _go_on_unasked(ctx: RunContext, reason: str, *, has_claims: bool) -> None:
    """Go on without an answer, unless another agent may have taken the task.

    Raises:
        NotNowError: it may: the server has claims, and this is the task's first run.
    """
    if has_claims and ctx.run.number == 1:
        raise NotNowError(reason)
    logger.info(
        "cannot ask whether task %s is still wanted, goes on with it: %s",
        ctx.job.task_id,
        reason,
        extra={"action": "unasked", "task": ctx.job.task_id},
    )


def _put_back(ctx: RunContext, reason: str) -> None:
    wait_s = ctx.agent.ownership.claim_failed()
    ctx.records.withdrawals.put_back(ctx.job, ctx.run, wait_s)
    logger.warning(
        "cannot claim task %s now, tries again in %.1f seconds: %s",
        ctx.job.task_id,
        wait_s,
        reason,
        extra={"action": "claim_failed", "task": ctx.job.task_id, "job": ctx.job.id},
    )


def _leave_alone(ctx: RunContext, reason: str) -> None:
    ctx.records.withdrawals.leave_alone(ctx.job, ctx.run, reason)
    logger.warning(
        "leaves task %s alone: %s",
        ctx.job.task_id,
        reason,
        extra={"action": "task_left_alone", "task": ctx.job.task_id, "job": ctx.job.id},
    )
