"""Resubmits a job that has ended, and moves one that waits, for a person."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable

from keruta_agent import errors
from keruta_agent.ports import KerutaApi
from keruta_agent.records.jobs import Job, Jobs, JobState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resubmission:
    """What a resubmitted job became: a new task at the API, or a new job here."""

    task_id: str | None = None
    job_id: int | None = None


def resubmit(jobs: Jobs, job: Job, api: Callable[[], KerutaApi]) -> Resubmission:
    """Submit a job that has ended once more, as a new one.

    A task at the API has one end, which stands; so a new task with the same script is filed there.

    Raises:
        WrongState: the job has not ended.
        ApiError: the API did not take the new task.
    """
    if job.state is not JobState.FINISHED:
        raise errors.WrongState(f"job {job.id} has not ended: it is {job.shown_state}")
    if job.task_id is None:
        return Resubmission(job_id=jobs.record_script(job.name, job.work, priority=job.priority))
    client = api()
    task = client.task(job.task_id)
    filed = dataclasses.replace(task, parameters={**task.parameters, "retryOf": task.id})
    return Resubmission(task_id=client.create_task(filed, key=uuid.uuid4().hex).id)


def move(jobs: Jobs, job: Job, priority: int) -> None:
    """Give a waiting job another priority.

    Raises:
        WrongState: it does not wait any more.
    """
    if not jobs.set_priority(job.id, priority):
        now = jobs.get(job.id) or job
        raise errors.WrongState(f"job {job.id} does not wait any more: it is {now.shown_state}")
