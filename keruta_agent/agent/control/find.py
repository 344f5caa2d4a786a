"""Lookups of the job that a command means."""

from __future__ import annotations

from keruta_agent.agent.store.jobs import Job, Jobs
from keruta_agent.core import errors


def find_job(jobs: Jobs, text: str) -> Job:
    """Return a job by its number or its task's id.

    Raises:
        NotFound: there is none.
    """
    job = jobs.find(text)
    if job is None:
        raise errors.NotFound(
            f"there is no job or task {text}", advice="See: keruta queue list --all"
        )
    return job


def get_job(jobs: Jobs, job_id: int) -> Job:
    """Return a job by its number.

    Raises:
        NotFound: there is none.
    """
    job = jobs.get(job_id)
    if job is None:
        raise errors.NotFound(f"there is no job {job_id}", advice="See: keruta queue list")
    return job
