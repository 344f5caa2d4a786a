"""Claims the task of a run at the API before anything of it is started.

The run's name is stored first, so that a claim that was made by an agent that was killed is made
again by the next one, and is the same. Servers without claims are asked for the task instead: one
that somebody else has begun is left alone.
"""

from __future__ import annotations

import logging
from typing import Final

from keruta_agent import errors
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.announce import NotWantedError
from keruta_agent.journey.writes import may_be_blocked
from keruta_agent.model import TaskStatus
from keruta_agent.ports import KerutaApi
from keruta_agent.records.jobs import Job, StopKind
from keruta_agent.records.run import Run

logger = logging.getLogger(__name__)

#: The server's word for an agent whose id another living one uses: it passes.
ID_IN_USE: Final = "AGENT_ID_IN_USE"
#: Its word for a task that has ended.
ENDED: Final = "TASK_ENDED"


class SomebodyElsesError(Exception):
    """Another agent, or somebody without a claim, has the task."""


class NotNowError(Exception):
    """The task cannot be claimed now, and must not be run without."""


def obtain(agent: Agent, job: Job, run: Run) -> Run | None:
    """Return the run as one whose task is this agent's; None when the run has been taken back.

    Raises:
        NotWantedError: the task is not to be run (again).
    """
    if run.is_owned:
        return run
    try:
        _claim(agent, job, run)
    except NotNowError as exc:
        _refuse_if_stopped(agent, job)
        _put_back(agent, job, run, str(exc))
        return None
    except SomebodyElsesError as exc:
        if run.number > 1:
            raise NotWantedError(StopKind.REFUSED, str(exc)) from exc
        _leave_alone(agent, job, run, str(exc))
        return None
    return agent.records.runs.own(job, run)


def wake_held_back(agent: Agent) -> None:
    """Have the jobs looked at again that were held back and may be claimed now."""
    if agent.ownership.has_held_back():
        for job_id in agent.records.jobs.waiting_ids():
            agent.queue.job_runnable(job_id)


def _claim(agent: Agent, job: Job, run: Run) -> None:
    if job.task_id is None or agent.api is None:
        return
    has_claims = agent.ownership.claims.are_known
    if agent.courier is not None and agent.courier.api_is_away:
        _go_on_unasked(agent, job, run, "the API is away", has_claims)
        return
    try:
        agent.api.claim_task(
            job.task_id, agent.ownership.identity, run=run.uid, begun=run.number > 1
        )
    except (errors.ApiUnsupported, errors.ApiNotFound):
        _look(agent, agent.api, job, run)
    except errors.ApiConflict as exc:
        if exc.code == ID_IN_USE:
            raise NotNowError(exc.message) from exc
        if exc.code == ENDED:
            raise NotWantedError(StopKind.REFUSED, exc.message) from exc
        raise SomebodyElsesError(exc.message) from exc
    except errors.ApiError as exc:
        if may_be_blocked(exc):
            _refuse_if_blocked(agent, agent.api)
        if has_claims:
            _go_on_unasked(agent, job, run, str(exc), has_claims)
        else:
            _look(agent, agent.api, job, run)
    else:
        agent.ownership.claims.learn(True)
        agent.ownership.claim_worked()
        wake_held_back(agent)


def _look(agent: Agent, api: KerutaApi, job: Job, run: Run) -> None:
    """Ask a server without claims whether the task may be run, and its end be reported."""
    _refuse_if_blocked(agent, api)
    try:
        task = api.task(job.task_id or "")
    except errors.ApiNotFound as exc:
        reason = "The task was deleted at the API"
        raise NotWantedError(StopKind.REFUSED, reason) from exc
    except errors.ApiError as exc:
        _go_on_unasked(agent, job, run, str(exc), has_claims=False)
        return
    if task.status.is_terminal:
        reason = f"The task is {task.status} at the API already"
        raise NotWantedError(StopKind.REFUSED, reason)
    if run.number == 1 and task.status is not TaskStatus.PENDING:
        reason = f"The task is {task.status} at the API: somebody else has begun it"
        raise SomebodyElsesError(reason)


def _refuse_if_blocked(agent: Agent, api: KerutaApi) -> None:
    """Test a write: a script whose end cannot be told must not begin.

    Raises:
        NotNowError: none reaches the API.
    """
    blocked = agent.writes.doubt(api)
    if blocked is not None:
        raise NotNowError(blocked.message) from blocked


def _go_on_unasked(agent: Agent, job: Job, run: Run, reason: str, has_claims: bool) -> None:
    """Go on without an answer, unless another agent may have taken the task.

    Raises:
        NotNowError: it may: the server has claims, and this is the task's first run.
    """
    if has_claims and run.number == 1:
        raise NotNowError(reason)
    logger.info(
        "cannot ask whether task %s is still wanted, goes on with it: %s",
        job.task_id,
        reason,
        extra={"action": "unasked", "task": job.task_id},
    )


def _refuse_if_stopped(agent: Agent, job: Job) -> None:
    current = agent.records.jobs.get(job.id) or job
    if current.stop_kind is not None:
        raise NotWantedError(current.stop_kind, current.stop_reason or "")


def _put_back(agent: Agent, job: Job, run: Run, reason: str) -> None:
    wait_s = agent.ownership.claim_failed()
    agent.records.withdrawals.put_back(job, run, wait_s)
    logger.warning(
        "cannot claim task %s now, tries again in %.1f seconds: %s",
        job.task_id,
        wait_s,
        reason,
        extra={"action": "claim_failed", "task": job.task_id, "job": job.id},
    )


def _leave_alone(agent: Agent, job: Job, run: Run, reason: str) -> None:
    agent.records.withdrawals.leave_alone(job, run, reason)
    logger.warning(
        "leaves task %s alone: %s",
        job.task_id,
        reason,
        extra={"action": "task_left_alone", "task": job.task_id, "job": job.id},
    )
