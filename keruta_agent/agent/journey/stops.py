"""Requests to stop jobs; the running one stops also while the disk is full.

A script that fills the disk is just the one that somebody wants to stop. What cannot be stored is
kept in memory, is obeyed at once, and is stored before the end of the run is judged.
"""

from __future__ import annotations

import logging
import sqlite3

from keruta_agent.agent.store import disk
from keruta_agent.agent.store.jobs import Jobs, JobState, StopKind
from keruta_agent.agent.store.runs import Runs

logger = logging.getLogger(__name__)


class Stops:
    """The stops of one agent. Safe to share between threads."""

    def __init__(self, jobs: Jobs, runs: Runs) -> None:
        self._jobs = jobs
        self._runs = runs
        self._unstored: dict[int, tuple[StopKind, str]] = {}

    def request(self, job_id: int, kind: StopKind, reason: str) -> JobState | None:
        """Ask for a job to be stopped; return its state before, None when there is none."""
        try:
            if kind is StopKind.CANCELLED:
                return self._runs.cancel_job(job_id, reason)
            return self._jobs.request_stop(job_id, kind, reason)
        except sqlite3.OperationalError as exc:
            job = self._jobs.get(job_id)
            if not disk.is_unwritable(exc) or job is None or job.state is not JobState.RUNNING:
                raise
            self._unstored.setdefault(job_id, (kind, reason))
            logger.warning(
                "job %d is stopped (%s), which is stored once the disk takes something again",
                job_id,
                kind,
                extra={"action": "no_room", "job": job_id, "task": job.task_id},
            )
            return job.state

    def is_asked(self, job_id: int) -> StopKind | None:
        """Return what wants a job to stop, None when nothing does."""
        job = self._jobs.get(job_id)
        if job is not None and job.stop_kind is not None:
            return job.stop_kind
        unstored = self._unstored.get(job_id)
        return None if unstored is None else unstored[0]

    def store(self, job_id: int) -> None:
        """Store what could not be stored when it was asked for.

        Raises:
            sqlite3.OperationalError: the disk is still full.
        """
        unstored = self._unstored.get(job_id)
        if unstored is not None:
            self._jobs.request_stop(job_id, *unstored)
            self._unstored.pop(job_id, None)
