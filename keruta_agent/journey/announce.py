"""Announces a run to the API before its script starts.

The write is in the outbox since the claim. It is sent here, ahead of its turn, because its answer
may say that the task is not ours to run: it was deleted, finished elsewhere, or another agent
holds it. An API that does not answer holds nothing up: the task was PENDING when it was taken,
and the write is delivered later.
"""

from __future__ import annotations

from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Job
from keruta_agent.records.runs import Run


class NotWantedError(Exception):
    """The API does not want this job run, or somebody cancelled it before it started."""

    def __init__(self, reason: str, *, refused: bool) -> None:
        super().__init__(reason)
        #: Whether it was the API, which then needs to be told nothing.
        self.refused = refused


def announce(agent: Agent, job: Job, run: Run) -> None:
    """Tells the API that the run begins.

    Raises:
        NotWantedError: the job is not to be run.
    """
    if job.task_id is not None and agent.courier is not None:
        agent.courier.deliver_task(job.task_id)
    current = agent.jobs.get(job.id)
    if current is not None and current.cancel_reason is not None:
        raise NotWantedError(current.cancel_reason, refused=current.refused)
