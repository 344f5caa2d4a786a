"""Withdrawals of runs before anything of them began, and what becomes of their jobs.

A run is stored before its task is claimed at the API. Where the claim cannot be made, or is
refused, the run leaves no trace: the next one is the first.
"""

from __future__ import annotations

import time

from keruta_agent.agent.store.jobs import Job, Jobs, StopKind
from keruta_agent.agent.store.journal import Journal
from keruta_agent.agent.store.run import Outcome, Run
from keruta_agent.agent.store.sqlite.database import Database


class Withdrawals:
    """The withdrawals of runs in agent.db that do not own their task."""

    def __init__(self, database: Database, jobs: Jobs, journal: Journal) -> None:
        self._database = database
        self._jobs = jobs
        self._journal = journal

    def put_back(self, job: Job, run: Run, wait_s: float) -> None:
        """Withdraw a run; its job is tried again after a delay, in its place."""
        with self._database.transaction():
            self._withdraw(run)
            self._jobs.schedule(job.id, wait_s)

    def count_put_back(self) -> int:
        """Return how many jobs wait for their claim, and not for a retry: they have no run."""
        row = self._database.connection().execute(
            "SELECT count(*) AS number FROM jobs WHERE state = 'scheduled' "
            "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job_id = jobs.id)"
        )
        return int(row.fetchone()["number"])

    def leave_alone(self, job: Job, run: Run, reason: str) -> None:
        """Withdraw a run whose task another agent has; its job ends."""
        with self._database.transaction() as connection:
            self._withdraw(run)
            connection.execute(
                "UPDATE jobs SET state = 'finished', outcome = ?, message = ?, stop_kind = ?, "
                "stop_reason = ?, finished_at = ? WHERE id = ?",
                (
                    Outcome.REFUSED.value,
                    reason,
                    StopKind.REFUSED.value,
                    reason,
                    time.time(),
                    job.id,
                ),
            )
            self._journal.add("left_alone", job.id, reason=reason)

    def refuse_waiting(self, session_id: str, reason: str, *, most: int) -> bool:
        """End waiting jobs of a session that the API does not want, at most so many.

        Returns whether some may be left. The API knows that they have not begun.
        """
        refused = StopKind.REFUSED.value
        with self._database.transaction() as connection:
            rows = connection.execute(
                "UPDATE jobs SET state = 'finished', stop_kind = ?, stop_reason = ?, outcome = ?, "
                "message = ?, finished_at = ? WHERE id IN (SELECT id FROM jobs "
                "WHERE state = 'waiting' AND session_id = ? LIMIT ?) RETURNING id",
                (refused, reason, refused, reason, time.time(), session_id, most),
            )
            refused_ids = [row["id"] for row in rows.fetchall()]
            for job_id in refused_ids:
                self._journal.add("stop_asked", job_id, kind=refused, reason=reason)
            return len(refused_ids) == most

    def revive(self, task_id: str) -> int | None:
        """Requeue a task that was left alone and never ran here; return its job's id.

        To be called for a task that is PENDING and claimed by nobody: a person has released it.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                "UPDATE jobs SET state = 'waiting', outcome = NULL, message = '', "
                "stop_kind = NULL, stop_reason = NULL, finished_at = NULL "
                "WHERE task_id = ? AND state = 'finished' AND outcome = ? "
                "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job_id = jobs.id) RETURNING id",
                (task_id, Outcome.REFUSED.value),
            ).fetchone()
            if row is None:
                return None
            self._journal.add("revived", row["id"])
            return int(row["id"])

    def _withdraw(self, run: Run) -> None:
        self._database.connection().execute(
            "DELETE FROM runs WHERE id = ? AND NOT is_owned", (run.id,)
        )
