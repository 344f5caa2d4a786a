"""The repair of what differs between records and world, before a daemon starts to work."""

from __future__ import annotations

import logging
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from keruta_agent.agent.journey import announce, on_failure, run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run.directory import RUNS_DIRECTORY, About, RunDirectory
from keruta_agent.agent.store.jobs import Job, JobState
from keruta_agent.agent.store.run import Run
from keruta_agent.core import errors, file_trees
from keruta_agent.core.model import Task
from keruta_agent.core.process_tree.children import OWN

logger = logging.getLogger(__name__)

#: What a run must take on the disk to be removed before its time when the disk is full.
LARGE_RUN_BYTES: Final = 256 * 1024


def reconcile(agent: Agent) -> None:
    """Make the records say what is the case, so that the dispatcher goes by them alone."""
    agent.records.outbox.forget_waits()
    take_in_unknown_runs(agent)
    on_failure.decide_left_over(agent)
    active = agent.records.runs.active()
    if active is not None:
        logger.info(
            "job %d was running when the last agent ended",
            active[0].id,
            extra={"action": "run_found", "job": active[0].id, "run": active[1].uid},
        )


def take_in_unknown_runs(agent: Agent) -> None:
    """Store the runs that are on disk and not in the records, so that none is started again.

    That is so when agent.db was put back from an old copy. What has ended is brought to its end
    here; one whose script still runs stays active, for the worker to follow.
    """
    runs_dir = agent.settings.base_dir / RUNS_DIRECTORY
    for path in sorted(runs_dir.iterdir()):
        directory = RunDirectory(path)
        about = directory.read_about()
        identity = directory.read_identity()
        if about is None or identity is None or agent.records.runs.by_uid(about.uid) is not None:
            continue
        while (left := RunContext.of_active(agent)) is not None:
            run.run_to_end(left)
        job = _job_of(agent, about)
        if job is None or job.state is JobState.FINISHED:
            continue
        logger.warning(
            "found a run of job %d that the records do not know: %s",
            job.id,
            path.name,
            extra={"action": "run_found_on_disk", "job": job.id, "run": about.uid},
        )
        restored = agent.records.runs.restore(
            job,
            uid=about.uid,
            number=1 + len(agent.records.runs.of_job(job.id)),
            directory=path.name,
            token=secrets.token_urlsafe(24),
        )
        found = RunContext(agent, *restored)
        announce.still_wanted(found)
        with OWN.starting():
            OWN.started(identity.pid)
        if not identity.is_alive():
            run.run_to_end(found)


def _job_of(agent: Agent, about: About) -> Job | None:
    """Return the job of a run that was found on disk, recorded if need be."""
    if about.task_id is None:
        job = agent.records.jobs.get(about.job_id)
        return job if job is not None and job.filed_at == about.filed_at else None
    agent.records.jobs.record_task(_task_of(agent, about, about.task_id))
    return agent.records.jobs.by_task(about.task_id)


def _task_of(agent: Agent, about: About, task_id: str) -> Task:
    """Return the task of a run that was found on disk: as the API knows it, if it can be asked."""
    if agent.api is not None:
        try:
            return agent.api.task(task_id)
        except errors.ApiError as exc:
            logger.info(
                "task %s cannot be read at the API, its retry rule is not known: %s",
                task_id,
                exc,
                extra={"action": "unasked", "task": task_id},
            )
    return Task(
        id=task_id,
        session_id=about.session_id,
        name=about.name,
        priority=about.priority,
        created_at=datetime.fromtimestamp(about.filed_at, tz=UTC),
    )


def remove_old_runs(agent: Agent) -> int:
    """Remove the directories of ended runs by age and total size; return how many.

    What has yet to be reported to the API is kept, whatever its age.
    """
    now = time.time()
    kept_size = 0
    removed = 0
    for ended in reversed(_ended_on_disk(agent)):
        directory = agent.directory_of(ended).path
        kept_size += file_trees.disk_usage(directory)
        too_old = now - (ended.ended_at or now) > agent.settings.runs_keep_age_s
        too_much = kept_size > agent.settings.runs_keep_size
        if (too_old or too_much) and not agent.records.outbox.pending_for(ended.id):
            if not remove_directory(directory):
                continue
            agent.records.runs.forget_log(ended.id)
            removed += 1
    removed += _make_room(agent)
    if removed:
        logger.info("removed %d old run directories", removed, extra={"action": "runs_removed"})
    return removed


def _ended_on_disk(agent: Agent) -> list[Run]:
    """Return the ended runs of which there is a directory: runs themselves are kept for ever."""
    runs_dir = agent.settings.base_dir / RUNS_DIRECTORY
    return agent.records.runs.ended_in(path.name for path in runs_dir.iterdir())


def _make_room(agent: Agent) -> int:
    """Remove large runs that the API knows all of, the oldest first, until there is a reserve."""
    if agent.disk.hold_reserve():
        return 0
    removed = 0
    for ended in _ended_on_disk(agent):
        directory = agent.directory_of(ended).path
        if file_trees.disk_usage(directory) < LARGE_RUN_BYTES:
            continue
        if not agent.records.outbox.pending_for(ended.id) and remove_directory(directory):
            agent.records.runs.forget_log(ended.id)
            removed += 1
            if agent.disk.hold_reserve():
                break
    return removed


def remove_directory(directory: Path) -> bool:
    """Remove a run's directory; return whether it is gone."""
    try:
        file_trees.remove(directory)
    except OSError as exc:
        logger.warning(
            "cannot remove the old run directory %s, remove it by hand: %s",
            exc.filename,
            exc.strerror,
            extra={"action": "run_left_behind"},
        )
        return False
    return True
