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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from keruta_agent.agent.store.journal import Journal
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core.boot_clock import boot_id, boot_seconds
from keruta_agent.core.model import Task

#: Digits of a job's number that the database can hold.
LONGEST_NUMBER: Final = 18

#: Why a job stops that somebody cancelled here.
CANCELLED_BY_A_PERSON: Final = "Cancelled by a person"


class JobState(enum.StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    #: Waits for a point in time, such as a retry.
    SCHEDULED = "scheduled"
    RUNNING = "running"
    #: A run failed, and what follows from it has yet to be decided.
    FAILING = "failing"
    FINISHED = "finished"


#: The states of jobs that have yet to end.
OPEN_STATES: Final = tuple(state for state in JobState if state is not JobState.FINISHED)


class StopKind(enum.StrEnum):
    """Who or what wants a job to stop."""

    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    #: Nobody answered what the script asked.
    INPUT_TIMEOUT = "input_timeout"
    AGENT_STOPPED = "agent_stopped"
    #: The API does not want it run; no end is reported.
    REFUSED = "refused"


#: After these a job may be tried again, so they give way to those after which it must not.
_MAY_BE_RETRIED = frozenset({StopKind.TIMED_OUT, StopKind.INPUT_TIMEOUT, StopKind.AGENT_STOPPED})


#: The order in which jobs run; and the groups of a listing, with index and order of each.
_IN_TURN: Final = "priority DESC, filed_at, id"
_LISTED: Final = (
    ((JobState.RUNNING, JobState.FAILING), "jobs_in_order", _IN_TURN),
    ((JobState.WAITING,), "jobs_in_order", _IN_TURN),
    ((JobState.SCHEDULED,), "jobs_in_order", _IN_TURN),
    ((JobState.FINISHED,), "jobs_ended", "finished_at DESC, id"),
)
_INSERT: Final = (
    "INSERT INTO jobs (task_id, session_id, name, priority, filed_at, state, work, recorded_at, "
    "api_priority) SELECT ?1, ?2, ?3, ?4, ?5, 'waiting', ?6, ?7, ?8 "
    # Not ON CONFLICT: that would use up a number.
    "WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE task_id = ?1) "
    "AND NOT EXISTS (SELECT 1 FROM pruned_jobs WHERE task_id = ?1 AND NOT may_return)"
)


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
        """Return the stored form."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Work:
        """Read the stored form; fields of a newer version are dropped."""
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
    #: Seconds since boot (of ``not_before_boot``) before which a scheduled job is not run.
    not_before: float | None
    not_before_boot: str | None
    work: Work
    #: What wants the job to stop, and why in words, once something does.
    stop_kind: StopKind | None
    stop_reason: str | None
    outcome: str | None
    message: str
    exit_code: int | None
    recorded_at: float
    finished_at: float | None
    #: As the API said it last; a person here may have moved the job since.
    api_priority: int | None

    @property
    def shown_state(self) -> str:
        """The state to show to people: of a job that has ended, its outcome."""
        if self.state is JobState.FINISHED and self.outcome:
            return self.outcome
        return self.state.value


class Jobs:
    """The jobs of agent.db."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    def record_task(self, task: Task) -> int | None:
        """Record an API task as a waiting job; return its id, or None if it is known already."""
        return self.record_tasks([task]).get(task.id)

    def record_tasks(self, tasks: Sequence[Task]) -> dict[str, int]:
        """Record API tasks as waiting jobs, all or none; return the ids of those that are new."""
        now = time.time()
        rows = [_row_of(task, now) for task in tasks]
        with self._database.transaction() as connection:
            before = self._last_id()
            connection.executemany(_INSERT, rows)
            self._journal.add_recorded(after_job=before)
            new = connection.execute("SELECT id, task_id FROM jobs WHERE id > ?", (before,))
            return {row["task_id"]: row["id"] for row in new.fetchall()}

    def record_script(self, name: str, work: Work, *, priority: int = 0) -> int:
        """Record an ad-hoc script as a waiting job and return its id."""
        now = time.time()
        values = (None, "", name, priority, now, work.to_json(), now, None)
        with self._database.transaction() as connection:
            before = self._last_id()
            cursor = connection.execute(_INSERT, values)
            self._journal.add_recorded(after_job=before)
        if cursor.lastrowid is None:
            raise sqlite3.IntegrityError("an ad-hoc job has no task id to collide with")
        return cursor.lastrowid

    def get(self, job_id: int) -> Job | None:
        """Return a job."""
        return self._one("SELECT * FROM jobs WHERE id = ?", (job_id,))

    def find(self, text: str) -> Job | None:
        """Return the job that a person means: by its number, or by its task's id."""
        is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
        found = self.get(int(text)) if is_number else None
        return found or self.by_task(text.encode("utf-8", "replace").decode())

    def by_task(self, task_id: str) -> Job | None:
        """Return the job of an API task."""
        return self._one("SELECT * FROM jobs WHERE task_id = ?", (task_id,))

    def next_waiting(
        self, *, only_local: bool = False, new_tasks: bool = True, claimed: Iterable[str] = ()
    ) -> Job | None:
        """Return the job that is to run next; see ``Runs.claim_next``."""
        return self._one(
            "SELECT * FROM jobs WHERE state = 'waiting' AND (task_id IS NULL OR (NOT ? AND (? "
            "OR task_id IN (SELECT value FROM json_each(?)) "
            "OR EXISTS (SELECT 1 FROM runs WHERE runs.job_id = jobs.id)))) "
            "ORDER BY priority DESC, filed_at, id LIMIT 1",
            (only_local, new_tasks, json.dumps([*claimed])),
        )

    def waiting_ids(self, limit: int = -1) -> list[int]:
        """Return the ids of the waiting jobs in the order in which they will run."""
        rows = self._database.connection().execute(
            f"SELECT id FROM jobs WHERE state = 'waiting' ORDER BY {_IN_TURN} LIMIT ?",  # noqa: S608
            (limit,),
        )
        return [row["id"] for row in rows]

    def ahead_of(self, job: Job) -> int:
        """Return how many jobs wait that will run before this one."""
        row = self._database.connection().execute(
            "SELECT count(*) AS number FROM jobs WHERE state = 'waiting' "
            "AND (priority > ? OR (priority = ? AND (filed_at, id) < (?, ?)))",
            (job.priority, job.priority, job.filed_at, job.id),
        )
        return int(row.fetchone()["number"])

    def oldest_waiting(self) -> float | None:
        """Return the Unix time at which the longest waiting job was recorded, None without one."""
        row = self._database.connection().execute(
            "SELECT min(recorded_at) AS oldest FROM jobs INDEXED BY jobs_waiting_since "
            "WHERE state = 'waiting'"
        )
        oldest = row.fetchone()["oldest"]
        return None if oldest is None else float(oldest)

    def listing(self, *, states: Sequence[JobState] = (), limit: int | None = None) -> list[Job]:
        """Return jobs: what runs, then what waits in its order, then what ended, newest first."""
        chosen = states or tuple(JobState)
        parts = []
        for group, index, order in _LISTED:
            # A part each, with its own limit: an index has its order, and they can be many.
            of_group = " OR ".join(f"state = '{state}'" for state in group if state in chosen)
            if of_group:
                parts.append(
                    f"SELECT * FROM (SELECT * FROM jobs INDEXED BY {index} WHERE {of_group} "  # noqa: S608
                    f"ORDER BY {order} LIMIT :limit)"
                )
        rows = self._database.connection().execute(
            f"{' UNION ALL '.join(parts)} LIMIT :limit", {"limit": -1 if limit is None else limit}
        )
        return [_job(row) for row in rows]

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state."""
        rows = self._database.connection().execute(
            "SELECT state, count(*) AS number FROM jobs GROUP BY state"
        )
        found = {row["state"]: row["number"] for row in rows}
        return {state: found.get(state.value, 0) for state in JobState}

    def has_open(self) -> bool:
        """Return whether any job has yet to end."""
        row = self._database.connection().execute(
            "SELECT 1 FROM jobs WHERE state IN (SELECT value FROM json_each(?)) LIMIT 1",
            (json.dumps(OPEN_STATES),),
        )
        return row.fetchone() is not None

    def request_stop(self, job_id: int, kind: StopKind, reason: str) -> JobState | None:
        """Ask for a job to be stopped and return the state in which it was found.

        A job that has not started ends at once; a running one is stopped by its follower. The
        first reason stands, unless the job might be tried again after it and must not be after
        this one. None means that there is no such job.
        """
        with self._database.transaction() as connection:
            job = self.get(job_id)
            if job is None:
                return None
            stands = job.stop_kind is not None and not (
                job.stop_kind in _MAY_BE_RETRIED and kind not in _MAY_BE_RETRIED
            )
            if job.state is JobState.FINISHED or stands:
                return job.state
            connection.execute(
                "UPDATE jobs SET stop_kind = ?, stop_reason = ? WHERE id = ?",
                (kind.value, reason, job_id),
            )
            self._journal.add("stop_asked", job_id, kind=kind, reason=reason)
            if job.state in (JobState.WAITING, JobState.SCHEDULED):
                connection.execute(
                    "UPDATE jobs SET state = 'finished', outcome = ?, message = ?, "
                    "finished_at = ? WHERE id = ?",
                    (kind.value, reason, time.time(), job_id),
                )
            return job.state

    def schedule(self, job_id: int, wait_s: float) -> None:
        """Schedule the next run of a failing job; its place in the order stays."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'scheduled', not_before = ?, not_before_boot = ?, "
                "stop_kind = NULL, stop_reason = NULL WHERE id = ?",
                (boot_seconds() + wait_s, boot_id(), job_id),
            )

    def wake_due(self) -> list[int]:
        """Turn the scheduled jobs whose time has come into waiting ones; return their ids."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "UPDATE jobs SET state = 'waiting' WHERE state = 'scheduled' "
                "AND (not_before <= ? OR not_before_boot <> ?) RETURNING id",
                (boot_seconds(), boot_id()),
            )
            return [row["id"] for row in rows.fetchall()]

    def seconds_to_next(self) -> float | None:
        """Return the seconds until the first scheduled job is due, None when there is none."""
        row = self._database.connection().execute(
            # A time of an earlier boot means nothing now, and may lie days ahead of this boot's.
            "SELECT min(CASE WHEN not_before_boot = ? THEN not_before ELSE 0 END) AS due "
            "FROM jobs WHERE state = 'scheduled'",
            (boot_id(),),
        )
        due = row.fetchone()["due"]
        return None if due is None else max(0.0, due - boot_seconds())

    def set_priority(self, job_id: int, priority: int) -> bool:
        """Move a job to another place in the order if it still waits; return whether it does."""
        with self._database.transaction() as connection:
            moved = connection.execute(
                "UPDATE jobs SET priority = ? WHERE id = ? AND state IN ('waiting', 'scheduled')",
                (priority, job_id),
            )
            if not moved.rowcount:
                return False
            self._journal.add("moved", job_id, priority=priority)
        return True

    def pause(self, reason: str) -> None:
        """Stop starting jobs until ``resume``."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO flags (name, value) VALUES ('paused', ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (reason,),
            )

    def resume(self) -> None:
        """Start jobs again."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM flags WHERE name = 'paused'")

    def pause_reason(self) -> str | None:
        """Return why no job is started, None when the queue is not paused."""
        row = self._database.connection().execute("SELECT value FROM flags WHERE name = 'paused'")
        found = row.fetchone()
        return None if found is None else str(found["value"])

    def failing(self) -> list[Job]:
        """Return the jobs of which a run failed and nothing was decided yet."""
        rows = self._database.connection().execute(
            "SELECT * FROM jobs WHERE state = 'failing' ORDER BY id"
        )
        return [_job(row) for row in rows]

    def finish(self, job_id: int) -> None:
        """End a failing job: no retry follows."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = 'finished', finished_at = ? WHERE id = ?",
                (time.time(), job_id),
            )

    def _last_id(self) -> int:
        row = self._database.connection().execute("SELECT coalesce(max(id), 0) FROM jobs")
        return int(row.fetchone()[0])

    def _one(self, query: str, parameters: tuple[object, ...] = ()) -> Job | None:
        row = self._database.connection().execute(query, parameters).fetchone()
        return None if row is None else _job(row)


def _row_of(task: Task, now: float) -> tuple[object, ...]:
    work = Work(
        script=task.script,
        parameters=task.parameters,
        description=task.description,
        parent_task_id=task.parent_task_id,
    )
    filed_at = task.created_at.timestamp() if task.created_at else now
    name = task.name or task.id
    priority = task.priority
    return task.id, task.session_id, name, priority, filed_at, work.to_json(), now, priority


def _job(row: sqlite3.Row) -> Job:
    values = dict(row)
    if values["stop_kind"] is not None:
        values["stop_kind"] = StopKind(values["stop_kind"])
    values["state"] = JobState(values["state"])
    values["work"] = Work.from_json(values["work"])
    return Job(**values)
