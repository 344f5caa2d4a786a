"""Runs: one execution of a job each, and the claim that lets only one be active.

What the script wrote stays in files; this table holds how far those files have been read, so
that a daemon that takes over goes on exactly there.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence

from keruta_agent.agent.store.jobs import Job, Jobs, JobState, StopKind
from keruta_agent.agent.store.journal import Journal
from keruta_agent.agent.store.outbox import Kind, Outbox
from keruta_agent.agent.store.run import STREAMS, LogRange, Run, RunResult, run_of
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core.model import StatusReport, TaskStatus


class Runs:
    """The runs of agent.db."""

    def __init__(self, database: Database, jobs: Jobs, outbox: Outbox, journal: Journal) -> None:
        self._database = database
        self._jobs = jobs
        self._outbox = outbox
        self._journal = journal

    def active(self) -> tuple[Job, Run] | None:
        """Return the run that has not ended, with its job."""
        run = self._one("SELECT * FROM runs WHERE state <> 'ended'")
        if run is None:
            return None
        return self._job_of(run), run

    def claim_next(
        self, *, only_local: bool = False, new_tasks: bool = True, claimed: Iterable[str] = ()
    ) -> tuple[Job, Run] | None:
        """Claim the first waiting job: it becomes the one active run, or nothing changes.

        None means that nothing waits, something runs, or the queue is paused. ``only_local``
        leaves the API's tasks where they are, and without ``new_tasks`` those that never ran,
        unless they are among the ``claimed``.
        """
        with self._database.transaction():
            job = self._jobs.next_waiting(
                only_local=only_local, new_tasks=new_tasks, claimed=claimed
            )
            if job is None or self.active() or self._jobs.pause_reason() is not None:
                return None
            return self._claim(job)

    def claim_job(self, job_id: int) -> tuple[Job, Run] | None:
        """Claim one certain job that waits, out of turn; None when it cannot be had."""
        with self._database.transaction():
            job = self._jobs.get(job_id)
            if job is None or job.state is not JobState.WAITING or self.active():
                return None
            return self._claim(job)

    def _claim(self, job: Job) -> tuple[Job, Run]:
        number = 1 + len(self.of_job(job.id))
        uid = secrets.token_hex(8)
        run = self._insert(
            job,
            uid=uid,
            number=number,
            directory=f"{job.id:06d}-{number}-{uid}",
            token=secrets.token_urlsafe(24),
        )
        return self._job_of(run), run

    def own(self, job: Job, run: Run) -> Run:
        """Store that the run owns its task, with the write that reports the run to the API."""
        with self._database.transaction():
            self._update(run.id, is_owned=1)
            self._journal.add("claimed", job.id, run.number, run=run.uid)
            if job.task_id is not None:
                self._announce(job.task_id, run)
        return self.get(run.id)

    def restore(
        self, job: Job, *, uid: str, number: int, directory: str, token: str
    ) -> tuple[Job, Run]:
        """Store a run that was found on disk and that the records do not know, as active.

        The records are an old copy then. The beginning is not reported to the API again.
        """
        with self._database.transaction():
            run = self._insert(
                job, uid=uid, number=number, directory=directory, token=token, is_owned=True
            )
            self._journal.add("found", job.id, number, run=uid)
            return self._job_of(run), run

    def _insert(
        self,
        job: Job,
        *,
        uid: str,
        number: int,
        directory: str,
        token: str,
        is_owned: bool = False,
    ) -> Run:
        """Store an active run of a job, which runs with that."""
        connection = self._database.connection()
        connection.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job.id,))
        row = connection.execute(
            "INSERT INTO runs "
            "(job_id, number, uid, token, directory, state, claimed_at, is_owned) "
            "VALUES (?, ?, ?, ?, ?, 'active', ?, ?) RETURNING *",
            (job.id, number, uid, token, directory, time.time(), int(is_owned)),
        )
        return run_of(row.fetchone())

    def _announce(self, task_id: str, run: Run) -> None:
        """Queue the report of a run to the API: its state at the first, a log line at a retry.

        Some servers lock a task at the first PROCESSING and fail it at a second one, and between
        the runs it stays PROCESSING there anyway.
        """
        key = f"{run.uid}-started"
        if run.number == 1:
            report = StatusReport(status=TaskStatus.PROCESSING, message="The script is started")
            self._outbox.add_status(task_id, report, run_id=run.id, key=key)
            return
        message = f"Run {run.number} of the task begins"
        line = {"level": "INFO", "message": message, "source": "agent"}
        self._outbox.add(Kind.LOG_LINE, task_id, line, run_id=run.id, key=key)

    def cancel_job(self, job_id: int, reason: str) -> JobState | None:
        """Cancel a job for a person and return the state in which it was found.

        One that has not started ends here, and its end is queued; a running one is stopped and
        reported by its follower. None means that there is no such job.
        """
        with self._database.transaction():
            state = self._jobs.request_stop(job_id, StopKind.CANCELLED, reason)
            job = self._jobs.get(job_id)
            if (
                job is not None
                and job.task_id is not None
                and state in (JobState.WAITING, JobState.SCHEDULED)
            ):
                report = StatusReport(
                    status=TaskStatus.FAILED,
                    message=reason,
                    error_code=StopKind.CANCELLED.value.upper(),
                )
                self._outbox.add_status(
                    job.task_id, report, run_id=None, key=f"job-{job_id}-{job.task_id}-cancelled"
                )
        return state

    def get(self, run_id: int) -> Run:
        """Return a run that exists."""
        run = self._one("SELECT * FROM runs WHERE id = ?", (run_id,))
        if run is None:
            raise LookupError(f"no run {run_id}")
        return run

    def with_job(self, run_id: int) -> tuple[Job, Run]:
        """Return a run that exists, with its job."""
        run = self.get(run_id)
        return self._job_of(run), run

    def of_job(self, job_id: int) -> list[Run]:
        """Return the runs of a job, oldest first."""
        rows = self._database.connection().execute(
            "SELECT * FROM runs WHERE job_id = ? ORDER BY number", (job_id,)
        )
        return [run_of(row) for row in rows]

    def by_uid(self, uid: str) -> Run | None:
        """Return the run that bears this random name."""
        return self._one("SELECT * FROM runs WHERE uid = ?", (uid,))

    def started(self, job: Job, run: Run, shim_pid: int) -> None:
        """Store that the script was started, and by which process."""
        with self._database.transaction():
            self._update(run.id, shim_pid=shim_pid, stage=None, agent_failures=0)
            self._journal.add("started", job.id, run.number, pid=shim_pid, log=run.directory)

    def commit(self, run_id: int, *, shim: str, exit_digest: str, launched_at: float) -> None:
        """Store what shows how the run ends; its script must not have been started yet."""
        self._update(run_id, shim=shim, exit_digest=exit_digest, launched_at=launched_at)

    def work_in(self, run_id: int, place: str) -> None:
        """Store where the run works."""
        self._update(run_id, place=place)

    def post_hook_was_run(self, run_id: int) -> None:
        """Store that the hook after the task was run."""
        self._update(run_id, post_hook_done=1)

    def enter(self, run_id: int, stage: str | None) -> None:
        """Store what the agent is about to do with a run, for the case that it dies of it."""
        self._update(run_id, stage=stage)

    def take_up(self, job: Job, run: Run) -> Run:
        """Store that an agent adopts a run that another one left.

        If that one died in the middle of a stage, it counts as a failure of the agent at this
        run; while a script was merely followed, an end of the agent has nothing to do with it.
        """
        with self._database.transaction():
            if run.stage is not None:
                self.agent_failed(job, run, f"the agent ended while it was to {run.stage} the run")
                self.enter(run.id, None)
            self._journal.add("taken_up", job.id, run.number)
        return self.get(run.id)

    def agent_failed(self, job: Job, run: Run, reason: str) -> None:
        """Count a failure of the agent itself at a run."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET agent_failures = agent_failures + 1 WHERE id = ?", (run.id,)
            )
            self._journal.add("agent_failed", job.id, run.number, reason=reason)

    @staticmethod
    def fresh_directory(run: Run) -> str:
        """Return another name for the directory of a run."""
        return f"{run.directory.split('.')[0]}.{secrets.token_hex(2)}"

    def renew_directory(self, run_id: int, directory: str) -> Run:
        """Give a run that never started a fresh directory: a late start finds no way in."""
        self._update(
            run_id,
            directory=directory,
            shim_pid=None,
            shim=None,
            launched_at=None,
            exit_digest=None,
        )
        return self.get(run_id)

    def offsets(self, run_id: int) -> dict[str, int]:
        """Return how far each stream has been read, in bytes."""
        row = self._database.connection().execute(
            "SELECT stdout_offset, stderr_offset, agent_offset FROM runs WHERE id = ?", (run_id,)
        )
        found = row.fetchone()
        return {stream: int(found[f"{stream}_offset"]) for stream in STREAMS}

    def add_ranges(
        self,
        job: Job,
        run: Run,
        pieces: Sequence[tuple[str, int, int]],
        read_at: float,
        withheld_lines: Mapping[int, int] | None = None,
    ) -> None:
        """Store that these pieces (stream, start, stop) were seen, and queue them for the API.

        Of those that must wait, ``withheld_lines`` has the number of lines, by their index.
        """
        withheld_lines = withheld_lines or {}
        with self._database.transaction() as connection:
            sequence = connection.execute(
                "SELECT next_range FROM runs WHERE id = ?", (run.id,)
            ).fetchone()[0]
            for index, (stream, start, stop) in enumerate(pieces):
                is_withheld = index in withheld_lines
                lines = withheld_lines.get(index, 0)
                connection.execute(
                    "INSERT INTO log_ranges "
                    "(run_id, sequence, stream, start, stop, read_at, held, lines) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (run.id, sequence, stream, start, stop, read_at, int(is_withheld), lines),
                )
                if job.task_id is not None and not is_withheld:
                    self._outbox.add_log_range(job.task_id, run.id, run.uid, sequence, stop - start)
                self._update(run.id, **{f"{stream}_offset": stop})
                sequence += 1
            self._update(run.id, next_range=sequence)

    def ranges(self, run_id: int, *, first: int = 0, limit: int = -1) -> list[LogRange]:
        """Return the pieces of a run's log in order, from a sequence number on."""
        rows = self._database.connection().execute(
            "SELECT sequence, stream, start, stop, read_at FROM log_ranges "
            "WHERE run_id = ? AND sequence >= ? ORDER BY sequence LIMIT ?",
            (run_id, first, limit),
        )
        return [LogRange(**dict(row)) for row in rows]

    def range_count(self, run_id: int) -> int:
        """Return how many pieces a run's log has; they are numbered from 0."""
        row = self._database.connection().execute(
            "SELECT next_range FROM runs WHERE id = ?", (run_id,)
        )
        return int(row.fetchone()["next_range"])

    def report_progress(self, job: Job, run: Run, percent: int, message: str) -> None:
        """Store the progress; the API gets the newest one."""
        with self._database.transaction():
            self._update(run.id, progress=percent, progress_message=message)
            if job.task_id is not None:
                self._outbox.put_progress(job.task_id, run.id, run.uid, percent, message)

    def report_end(
        self,
        run_id: int,
        status: TaskStatus,
        *,
        message: str,
        error_code: str,
        wants_auto_fix: bool | None,
        artifacts_dir: str | None,
    ) -> bool:
        """Store the end that the script reports; a reported failure stays.

        Returns whether the report was taken.
        """
        with self._database.transaction():
            run = self.get(run_id)
            if run.reported_status is TaskStatus.FAILED:
                return False
            self._update(
                run_id,
                reported_status=status.value,
                reported_message=message,
                reported_error_code=error_code,
                wants_auto_fix=wants_auto_fix,
                artifacts_dir=artifacts_dir if artifacts_dir is not None else run.artifacts_dir,
            )
        return True

    def end(self, job: Job, run: Run, result: RunResult, *, job_state: JobState) -> None:
        """Store the end of a run; its job is finished, or ``failing`` until more is decided."""
        now = time.time()
        with self._database.transaction() as connection:
            self._journal.add(
                "ended",
                job.id,
                run.number,
                outcome=result.outcome,
                message=result.message,
                exit_code=result.exit_code,
                signal=result.signal,
            )
            self._update(
                run.id,
                state="ended",
                stage=None,
                ended_at=now,
                outcome=result.outcome.value,
                exit_code=result.exit_code,
                signal=result.signal,
                message=result.message,
            )
            connection.execute(
                "UPDATE jobs SET state = ?, outcome = ?, message = ?, exit_code = ?, "
                "finished_at = ? WHERE id = ?",
                (
                    job_state.value,
                    result.outcome.value,
                    result.message,
                    result.exit_code,
                    now if job_state is JobState.FINISHED else None,
                    job.id,
                ),
            )

    def forget_log(self, run_id: int) -> None:
        """Remove the ranges of a run's log, after its files were removed."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM log_ranges WHERE run_id = ?", (run_id,))

    def ended_in(self, directories: Iterable[str]) -> list[Run]:
        """Return the ended runs with these directories, oldest first whatever the clock said."""
        rows = self._database.connection().execute(
            "SELECT * FROM runs WHERE state = 'ended' "
            "AND directory IN (SELECT value FROM json_each(?)) ORDER BY id",
            (json.dumps([*directories]),),
        )
        return [run_of(row) for row in rows]

    def _update(self, run_id: int, **values: object) -> None:
        assignments = ", ".join(f"{name} = ?" for name in values)
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE runs SET {assignments} WHERE id = ?",  # noqa: S608 - names from this file
                (*values.values(), run_id),
            )

    def _one(self, query: str, parameters: tuple[object, ...] = ()) -> Run | None:
        row = self._database.connection().execute(query, parameters).fetchone()
        return None if row is None else run_of(row)

    def _job_of(self, run: Run) -> Job:
        job = self._jobs.get(run.job_id)
        if job is None:
            raise LookupError(f"run {run.id} has no job")
        return job
