"""The announcement of a run to the API, before its script starts.

The write is in the outbox since the claim. It is sent here, ahead of its turn, because its answer
may say that this agent must not run the task: it was deleted, finished elsewhere, or another agent
holds it. An API that does not answer delays nothing: the task was PENDING when it was taken, and
the write is delivered later.
"""

from __future__ import annotations

import logging

from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.store.jobs import StopKind
from keruta_agent.agent.store.outbox import Lane
from keruta_agent.core import errors

logger = logging.getLogger(__name__)


def still_wanted(ctx: RunContext) -> None:
    """Ask the API whether a run that another agent left is still wanted, and stop it if not.

    The task may have been deleted or ended meanwhile; or our records are an old copy, and the
    task was brought to its end long ago.
    """
    agent, job = ctx.agent, ctx.job
    if job.task_id is None or agent.api is None:
        return
    try:
        task = agent.api.task(job.task_id)
    except errors.ApiNotFound:
        agent.stops.request(job.id, StopKind.REFUSED, "The task was deleted at the API")
    except errors.ApiError as exc:
        logger.info(
            "cannot ask whether task %s is still wanted, goes on with it: %s",
            job.task_id,
            exc,
            extra={"action": "unasked", "task": job.task_id},
        )
    else:
        if task.status.is_terminal:
            agent.stops.request(
                job.id, StopKind.REFUSED, f"The task is {task.status} at the API already"
            )


def announce(ctx: RunContext) -> None:
    """Tell the API that the run begins.

    Raises:
        JobStoppedError: the job is not to be run.
    """
    if ctx.job.task_id is not None and ctx.agent.outbox_sender is not None:
        ctx.agent.outbox_sender.deliver_task(ctx.job.task_id, Lane.REPORTS)
    ctx.raise_if_stopped()
