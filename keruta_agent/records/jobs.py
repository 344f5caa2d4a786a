"""Jobs: the agent's record of each piece of work, an API task or an ad-hoc script.

The order in which jobs run is a query over this table, so that nothing that happens to the
dispatcher can change it: priority first, then age.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from keruta_agent.model import Task
from keruta_agent.records.database import Database


class JobState(enum.StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    #: Waits for a point in time, such as a retry.
    SCHEDULED = "scheduled"
    RUNNING = "running"
    #: A run failed, and what follows from it has yet to be decided.
    FAILING = "failing"
    FINISHED = "finished"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What a job executes, as it was when the job was recorded.

    Either a script text or a command of an ad-hoc job. A task's script is read from the API right
    before the run, so ``script`` is only what the task list said.
    """

    script: str = ""
    command: Sequence[str] = ()
    directory: str | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    description: str = ""
    parent_task_id: str | None = None

    def to_json(self) -> str:
        """Returns the stored form."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Work:
        """Reads the stored form; fields of a newer version are dropped."""
        known = {field.name for field in dataclasses.fields(cls)}
        values = {name: value for name, value in json.loads(text).items() if name in known}
        values["command"] = tuple(values.get("command", ()))
        return cls(**values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work."""

    id: int
    task_id: str | None
    session_id: str
    name: str
    priority: int
    #: Unix time at which the task was created at the API, or the script handed in.
    filed_at: float
    state: JobState
    not_before: float | None
    work: Work
    #: Why the job is to be stopped, once somebody asked for it.
    cancel_reason: str | None
    #: Whether it was the API that does not want the job run.
    refused: bool
    outcome: str | None
    message: str
    exit_code: int | None
    recorded_at: float
    finished_at: float | None


class Jobs:
    """The jobs of agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record_task(self, task: Task) -> int | None:
        """Records an API task as a waiting job; returns its id, or None if it is known already."""
        work = Work(
            script=task.script,
            parameters=task.parameters,
            description=task.description,
            parent_task_id=task.parent_task_id,
        )
        filed_at = task.created_at.timestamp() if task.created_at else time.time()
        return self._insert(
            task_id=task.id,
            session_id=task.session_id,
            name=task.name or task.id,
            priority=task.priority,
            filed_at=filed_at,
            work=work,
        )

    def record_script(self, name: str, work: Work, *, priority: int = 0) -> int:
        """Records an ad-hoc script as a waiting job and returns its id."""
        job_id = self._insert(
            task_id=None,
            session_id="",
            name=name,
            priority=priority,
            filed_at=time.time(),
            work=work,
        )
        if job_id is None:
            raise sqlite3.IntegrityError("an ad-hoc job has no task id to collide with")
        return job_id

    def get(self, job_id: int) -> Job | None:
        """Returns a job."""
        return self._one("SELECT * FROM jobs WHERE id = ?", (job_id,))

    def by_task(self, task_id: str) -> Job | None:
        """Returns the job of an API task."""
        return self._one("SELECT * FROM jobs WHERE task_id = ?", (task_id,))

    def next_waiting(self) -> Job | None:
        """Returns the job that is to run next."""
        return self._one(
            "SELECT * FROM jobs WHERE state = 'waiting' "
            "ORDER BY priority DESC, filed_at, id LIMIT 1"
        )

    def waiting_ids(self) -> list[int]:
        """Returns the ids of the waiting jobs in the order in which they will run."""
        rows = self._database.connection().execute(
            "SELECT id FROM jobs WHERE state = 'waiting' ORDER BY priority DESC, filed_at, id"
        )
        return [row["id"] for row in rows]

    def listing(self, *, states: Sequence[JobState] = (), limit: int | None = None) -> list[Job]:
        """Returns jobs: what runs, then what waits in its order, then what ended, newest first."""
        chosen = states or tuple(JobState)
        marks = ", ".join("?" * len(chosen))
        rows = self._database.connection().execute(
            f"""
            SELECT * FROM jobs WHERE state IN ({marks})
            ORDER BY CASE state WHEN 'running' THEN 0 WHEN 'failing' THEN 0 WHEN 'waiting' THEN 1
                                WHEN 'scheduled' THEN 2 ELSE 3 END,
                     CASE WHEN state <> 'finished' THEN -priority END,
                     CASE WHEN state <> 'finished' THEN filed_at END,
                     finished_at DESC, id
            LIMIT ?
            """,  # noqa: S608 - only question marks are filled in
            (*chosen, -1 if limit is None else limit),
        )
        return [_job(row) for row in rows]

    def counts(self) -> dict[JobState, int]:
        """Returns how many jobs are in each state."""
        rows = self._database.connection().execute(
            "SELECT state, count(*) AS number FROM jobs GROUP BY state"
        )
        found = {row["state"]: row["number"] for row in rows}
        return {state: found.get(state.value, 0) for state in JobState}

    def has_open(self) -> bool:
        """Tells whether any job has yet to end."""
        row = self._database.connection().execute(
            "SELECT 1 FROM jobs WHERE state <> 'finished' LIMIT 1"
        )
        return row.fetchone() is not None

    def request_cancel(self, job_id: int, reason: str, *, refused: bool = False) -> JobState | None:
        """Asks for a job to be stopped and returns the state in which it was found.

        A job that has not started ends at once; a running one is stopped by who follows it.
        ``refused`` says that the API does not want the job, so that it is told nothing of the
        end. None means that there is no such job.
        """
        with self._database.transaction() as connection:
            job = self.get(job_id)
            if job is None:
                return None
            if job.state is JobState.RUNNING:
                connection.execute(
                    "UPDATE jobs SET cancel_reason = ?, refused = ? "
                    "WHERE id = ? AND cancel_reason IS NULL",
                    (reason, refused, job_id),
                )
            elif job.state in (JobState.WAITING, JobState.SCHEDULED):
                connection.execute(
                    "UPDATE jobs SET state = 'finished', outcome = 'cancelled', message = ?, "
                    "cancel_reason = ?, refused = ?, finished_at = ? WHERE id = ?",
                    (reason, reason, refused, time.time(), job_id),
                )
            return job.state

    def failing(self) -> list[Job]:
        """Returns the jobs of which a run failed and nothing was decided yet."""
        rows = self._database.connection().execute(
            "SELECT * FROM jobs WHERE state = 'failing' ORDER BY id"
        )
        return [_job(row) for row in rows]

    def finish(self, job_id: int) -> None:
        """Ends a failing job for good."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'finished', finished_at = ? WHERE id = ?",
                (time.time(), job_id),
            )

    def set_work(self, job_id: int, work: Work) -> None:
        """Replaces what the job executes, after the API told it."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE jobs SET work = ? WHERE id = ?", (work.to_json(), job_id))

    def _insert(
        self,
        *,
        task_id: str | None,
        session_id: str,
        name: str,
        priority: int,
        filed_at: float,
        work: Work,
    ) -> int | None:
        with self._database.transaction() as connection:
            if task_id is not None and self.by_task(task_id) is not None:
                return None
            cursor = connection.execute(
                "INSERT INTO jobs (task_id, session_id, name, priority, filed_at, state, work, "
                "recorded_at) VALUES (?, ?, ?, ?, ?, 'waiting', ?, ?)",
                (task_id, session_id, name, priority, filed_at, work.to_json(), time.time()),
            )
            return cursor.lastrowid

    def _one(self, query: str, parameters: tuple[object, ...] = ()) -> Job | None:
        row = self._database.connection().execute(query, parameters).fetchone()
        return None if row is None else _job(row)


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    values["refused"] = bool(values["refused"])
    values["state"] = JobState(values["state"])
    values["work"] = Work.from_json(values["work"])
    return Job(**values)
