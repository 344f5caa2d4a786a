"""Announces a run to the API before its script starts.

The write is in the outbox since the claim. It is sent here, ahead of its turn, because its answer
may say that the task is not ours to run: it was deleted, finished elsewhere, or another agent
holds it. An API that does not answer holds nothing up: the task was PENDING when it was taken,
and the write is delivered later.
"""

from __future__ import annotations

import logging

from keruta_agent import errors
from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Job, StopKind
from keruta_agent.records.outbox import Lane
from keruta_agent.records.run import Run

logger = logging.getLogger(__name__)


class NotWantedError(Exception):
    """The API does not want this job run, or somebody cancelled it before it started."""

    def __init__(self, kind: StopKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def still_wanted(agent: Agent, job: Job) -> None:
    """Asks the API whether a run that another agent left is still wanted, and stops it if not.

    The task may have been deleted or ended meanwhile; or our records are an old copy, and the
    task was brought to its end long ago.
    """
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


def announce(agent: Agent, job: Job, run: Run) -> None:
    """Tells the API that the run begins.

    Raises:
        NotWantedError: the job is not to be run.
    """
    if job.task_id is not None and agent.courier is not None:
        agent.courier.deliver_task(job.task_id, Lane.WORDS)
    current = agent.records.jobs.get(job.id)
    if current is not None and current.stop_kind is not None:
        raise NotWantedError(current.stop_kind, current.stop_reason or "")
