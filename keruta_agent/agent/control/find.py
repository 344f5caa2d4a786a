"""Lookups of the job that a command means."""

from __future__ import annotations

from datetime import UTC, datetime

from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors


def find_job(records: Records, text: str) -> Job:
    """Return a job by its number or its task's id.

    Raises:
        NotFound: there is none, or it was pruned.
    """
    job = records.jobs.find(text)
    if job is None:
        _refuse_pruned(records, text)
        raise errors.NotFound(
            f"there is no job or task {text}", advice="See: keruta queue list --all"
        )
    return job


def get_job(records: Records, job_id: int) -> Job:
    """Return a job by its number.

    Raises:
        NotFound: there is none, or it was pruned.
    """
    job = records.jobs.get(job_id)
    if job is None:
        _refuse_pruned(records, str(job_id))
        raise errors.NotFound(f"there is no job {job_id}", advice="See: keruta queue list")
    return job


def _refuse_pruned(records: Records, text: str) -> None:
    pruned = records.retention.find(text)
    if pruned is None:
        return
    if pruned.task_id is None:
        which, advice = "it", "Hand its script in again to run it once more"
    else:
        which = f"its task {pruned.task_id}"
        advice = "What is left of the task is at the keruta API"
    raise errors.NotFound(
        f"job {pruned.id} has been pruned on {_day(pruned.pruned_at)}; {which} ended on "
        f"{_day(pruned.finished_at)}: {pruned.outcome or 'finished'}",
        advice=f"{advice}; the settings retention.* say for how long jobs are kept",
    )


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, tz=UTC):%Y-%m-%d}"
