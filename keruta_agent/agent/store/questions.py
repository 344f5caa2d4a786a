"""Questions: what a script waits for a person to say. What was answered is kept nowhere.

A question is stored together with all that is to be reported of it to the API. It is ``open`` until
somebody answers it, ``answered`` until the script is seen to go on, and ``closed`` then.
"""

from __future__ import annotations

import dataclasses
import enum
import sqlite3
import time
from typing import Final

from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.journal import Journal
from keruta_agent.agent.store.outbox import Kind, Outbox
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.model import LogLevel

#: What stands for a prompt where the script wrote none.
NO_PROMPT: Final = "(the script wrote no prompt)"


class QuestionState(enum.StrEnum):
    """Where a question is in its life."""

    OPEN = "open"
    ANSWERED = "answered"
    CLOSED = "closed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One wait of a script for a person."""

    id: int
    run_id: int
    #: 1 for the first question of the run.
    number: int
    #: What the script wrote before it waited, with its secrets masked; may be empty.
    prompt: str
    #: Whether the answer must not be shown.
    secret: bool
    #: Process that waits.
    pid: int
    #: How often it had slept when it was seen; another number means another wait.
    sleeps: int | None
    #: Unix time at which the wait was seen.
    asked_at: float
    #: The same in seconds since boot.
    asked_boot: float
    state: QuestionState
    #: Who answered: ``api``, ``command``, ``terminal``, ``http``; None while nobody has.
    answered_by: str | None
    #: Whether the API took the question, and by which id it knows it.
    at_api: bool
    api_id: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedOf:
    """A question with the job that asks it."""

    job_id: int
    task_id: str | None
    job_name: str
    question: Question


class Questions:
    """The questions of agent.db."""

    def __init__(self, database: Database, outbox: Outbox, journal: Journal) -> None:
        self._database = database
        self._outbox = outbox
        self._journal = journal

    def current(self, run_id: int) -> Question | None:
        """Return the question of a run that is not over."""
        return self._one(
            "SELECT * FROM questions WHERE run_id = ? AND state <> 'closed'", (run_id,)
        )

    def get(self, run_id: int, number: int) -> Question | None:
        """Return a run's question by its number."""
        return self._one(
            "SELECT * FROM questions WHERE run_id = ? AND number = ?", (run_id, number)
        )

    def open_ones(self) -> list[AskedOf]:
        """Return what waits for an answer, with the jobs that ask."""
        rows = self._database.connection().execute(
            "SELECT questions.*, jobs.id AS job_id, jobs.task_id, jobs.name AS job_name "
            "FROM questions JOIN runs ON runs.id = run_id JOIN jobs ON jobs.id = runs.job_id "
            "WHERE questions.state = 'open' ORDER BY questions.id"
        )
        return [
            AskedOf(
                job_id=row["job_id"],
                task_id=row["task_id"],
                job_name=row["job_name"],
                question=_question(row),
            )
            for row in rows
        ]

    def open_of_job(self, job_id: int) -> Question | None:
        """Return what a job waits for."""
        found = [one.question for one in self.open_ones() if one.job_id == job_id]
        return found[0] if found else None

    def ask(
        self, job: Job, run: Run, *, prompt: str, secret: bool, pid: int, sleeps: int | None
    ) -> Question:
        """Store that a script waits, and queue what the API is to know of it."""
        with self._database.transaction() as connection:
            number = 1 + int(
                connection.execute(
                    "SELECT count(*) FROM questions WHERE run_id = ?", (run.id,)
                ).fetchone()[0]
            )
            connection.execute(
                "INSERT INTO questions (run_id, number, prompt, secret, pid, sleeps, asked_at, "
                "asked_boot, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'open')",
                (run.id, number, prompt, secret, pid, sleeps, time.time(), boot_seconds()),
            )
            self._journal.add(
                "input_requested", job.id, run.number, prompt=prompt or NO_PROMPT, secret=secret
            )
            if job.task_id is not None:
                self._queue_question(job.task_id, run, number, prompt, secret=secret)
            question = self.get(run.id, number)
            if question is None:
                raise sqlite3.IntegrityError("the question that was just stored is gone")
            return question

    def answered(self, job: Job, run: Run, question: Question, by: str) -> None:
        """Store that a question was answered, and by whom; not what was said."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE questions SET state = 'answered', answered_by = ? WHERE id = ?",
                (by, question.id),
            )
            self._journal.add(
                "input_answered",
                job.id,
                run.number,
                prompt=question.prompt or NO_PROMPT,
                by=by,
                waited_s=round(boot_seconds() - question.asked_boot, 1),
            )

    def close(self, job: Job, run: Run, question: Question, why: str) -> None:
        """Store that a script waits no more, and queue the report of that to the API.

        ``why`` says what happened to a question that nobody answered.
        """
        with self._database.transaction() as connection:
            connection.execute("UPDATE questions SET state = 'closed' WHERE id = ?", (question.id,))
            if question.state is QuestionState.OPEN:
                self._journal.add(
                    "input_unanswered",
                    job.id,
                    run.number,
                    prompt=question.prompt or NO_PROMPT,
                    why=why,
                    waited_s=round(boot_seconds() - question.asked_boot, 1),
                )
            if job.task_id is not None:
                self._outbox.add(
                    Kind.RESUMED,
                    job.task_id,
                    {"number": question.number, **self._shown(run.id)},
                    run_id=run.id,
                    key=f"{run.uid}-resumed-{question.number}",
                )

    def note_sent(self, run_id: int, number: int, api_id: str | None) -> None:
        """Store that the API took a question: it may be asked there for the answer."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE questions SET at_api = 1, api_id = ? WHERE run_id = ? AND number = ?",
                (api_id, run_id, number),
            )

    def _queue_question(
        self, task_id: str, run: Run, number: int, prompt: str, *, secret: bool
    ) -> None:
        """Queue a log line, and the question with the state that it brings."""
        shown = prompt or NO_PROMPT
        line = {
            "level": LogLevel.INFO.value,
            "message": f"Waits for an answer to: {shown}",
            "source": "agent",
        }
        question = {
            "number": number,
            "prompt": prompt,
            "secret": secret,
            **self._shown(run.id),
            "message": f"Waits for input: {shown}",
        }
        for kind, payload, mark in (
            (Kind.LOG_LINE, line, "asked"),
            (Kind.QUESTION, question, "question"),
        ):
            self._outbox.add(
                kind, task_id, payload, run_id=run.id, key=f"{run.uid}-{mark}-{number}"
            )

    def _shown(self, run_id: int) -> dict[str, object]:
        """Return the progress and its message, which a write of the state would else reset."""
        row = (
            self._database.connection()
            .execute("SELECT progress, progress_message FROM runs WHERE id = ?", (run_id,))
            .fetchone()
        )
        return {"progress": row["progress"], "message": row["progress_message"]}

    def _one(self, query: str, parameters: tuple[object, ...]) -> Question | None:
        row = self._database.connection().execute(query, parameters).fetchone()
        return None if row is None else _question(row)


_FIELDS = tuple(field.name for field in dataclasses.fields(Question))


def _question(row: sqlite3.Row) -> Question:
    values = {name: row[name] for name in _FIELDS}
    values["state"] = QuestionState(values["state"])
    values["secret"] = bool(values["secret"])
    values["at_api"] = bool(values["at_api"])
    return Question(**values)
