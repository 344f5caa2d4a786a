"""The pruning of ended jobs by age and number, beside the work and some at a time."""

from __future__ import annotations

import logging
import time

from keruta_agent.agent.journey import recover
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.run.directory import RUNS_DIRECTORY
from keruta_agent.agent.store import shrinking
from keruta_agent.agent.store.retention import BATCH, Ended

logger = logging.getLogger(__name__)


class Pruning:
    """The pruning of one daemon's jobs."""

    def __init__(self) -> None:
        #: Jobs whose run directories cannot be removed: the next daemon tries again.
        self._left_behind: set[int] = set()
        self._pruned = 0

    def go_on(self, agent: Agent) -> bool:
        """Prune some jobs, or shrink the database by some pages; return whether more is left."""
        due = self._due(agent)
        # First the directories: killed in between, the next daemon finds the job as it is.
        removed = [ended.job_id for ended in due if self._remove_directories(agent, ended)]
        self._pruned += agent.records.retention.prune(removed) if removed else 0
        if len(due) == BATCH:
            return True
        if self._pruned:
            logger.info("pruned %d ended jobs", self._pruned, extra={"action": "jobs_pruned"})
            self._pruned = 0
        return not agent.disk.lacks_reserve and shrinking.shrink(agent.records.database)

    def _due(self, agent: Agent) -> list[Ended]:
        age_s, count = agent.settings.retention_jobs_age_s, agent.settings.retention_jobs_count
        return agent.records.retention.due(
            ended_before=time.time() - age_s if age_s else 0.0,
            most_kept=count or None,
            apart_from=self._left_behind,
        )

    def _remove_directories(self, agent: Agent, ended: Ended) -> bool:
        runs_dir = agent.settings.base_dir / RUNS_DIRECTORY
        paths = [runs_dir / name for name in ended.directories]
        if all(recover.remove_directory(path) for path in paths if path.exists()):
            return True
        self._left_behind.add(ended.job_id)
        return False
