"""Repairs the difference between the records and the world before a daemon starts to work."""

from __future__ import annotations

import logging
import shutil
import time

from keruta_agent.journey import mend
from keruta_agent.journey.agent import Agent

logger = logging.getLogger(__name__)


def reconcile(agent: Agent) -> list[int]:
    """Returns the jobs that the dispatcher must know of: the one that runs, then those that wait.

    The dispatcher's own memory is not asked: it may have lost a message or hold a stale one.
    """
    mend.mend_failures(agent)
    active = agent.runs.active()
    waiting = agent.jobs.waiting_ids()
    if active is not None:
        logger.info(
            "job %d was running when the last agent ended",
            active[0].id,
            extra={"action": "run_found", "job": active[0].id, "run": active[1].uid},
        )
    return [*([active[0].id] if active else []), *waiting]


def remove_old_runs(agent: Agent) -> int:
    """Removes the directories of ended runs by age and total size; returns how many.

    What the API has yet to be told of is kept, whatever its age.
    """
    now = time.time()
    kept_size = 0
    removed = 0
    for run in reversed(agent.runs.ended_before(now)):
        directory = agent.directory_of(run).path
        if not directory.exists():
            continue
        kept_size += sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())
        too_old = now - (run.ended_at or now) > agent.settings.runs_keep_age_s
        too_much = kept_size > agent.settings.runs_keep_size
        if (too_old or too_much) and not agent.outbox.pending_for(run.id):
            shutil.rmtree(directory, ignore_errors=True)
            agent.runs.forget_log(run.id)
            removed += 1
    if removed:
        logger.info("removed %d old run directories", removed, extra={"action": "runs_removed"})
    return removed
