"""The retention of ended jobs: what the API has confirmed goes, and each task's id stays known.

A pruned job leaves one small row, in the transaction that removes it. So a task that the API lists
once more, or a run directory that turns up, starts nothing for the second time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from keruta_agent.agent.store.counters import Counters
from keruta_agent.agent.store.jobs import LONGEST_NUMBER
from keruta_agent.agent.store.run import Outcome
from keruta_agent.agent.store.sqlite.database import Database

#: Jobs of one transaction: some milliseconds, in which reports wait.
BATCH: Final = 100
#: Name of the total of pruned jobs.
PRUNED: Final = "jobs_pruned"

#: The API has all that there is to say. What it refused of a log or a file is no reason to keep
#: the job, but an end that it has not taken is.
_IS_CONFIRMED: Final = (
    "jobs.state = 'finished' AND NOT EXISTS (SELECT 1 FROM outbox "
    "WHERE outbox.task_id = jobs.task_id "
    "AND (outbox.state = 'pending' OR outbox.kind = 'status'))"
)
_GIVEN: Final = "(SELECT value FROM json_each(:jobs))"
_RUNS: Final = f"(SELECT id FROM runs WHERE job_id IN {_GIVEN})"  # noqa: S608
_TASKS: Final = f"(SELECT task_id FROM jobs WHERE id IN {_GIVEN} AND task_id IS NOT NULL)"  # noqa: S608
_OWN_ARTIFACTS: Final = f"(job_id IN {_GIVEN} OR task_id IN {_TASKS})"

#: In the order of their references.
_REMOVE: Final = (
    f"DELETE FROM outbox WHERE task_id IN {_TASKS}",  # noqa: S608
    f"DELETE FROM artifacts WHERE {_OWN_ARTIFACTS}",  # noqa: S608
    f"DELETE FROM questions WHERE run_id IN {_RUNS}",  # noqa: S608
    f"DELETE FROM runs WHERE job_id IN {_GIVEN}",  # noqa: S608
    f"DELETE FROM journal WHERE job_id IN {_GIVEN}",  # noqa: S608
    f"DELETE FROM jobs WHERE id IN {_GIVEN}",  # noqa: S608
)
_REMEMBER: Final = (
    "INSERT OR REPLACE INTO pruned_jobs "  # noqa: S608
    "(id, task_id, outcome, finished_at, pruned_at, may_return) "
    "SELECT id, task_id, outcome, finished_at, :now, outcome IS :refused "
    "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job_id = jobs.id) "
    f"FROM jobs WHERE id IN {_GIVEN}"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """An ended job that is not kept any longer, with the names of its runs' directories."""

    job_id: int
    directories: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrunedJob:
    """What stays of a pruned job."""

    id: int
    task_id: str | None
    outcome: str | None
    #: Unix time.
    finished_at: float
    pruned_at: float
    #: Whether it never ran here, and is queued again if the API's task is released.
    may_return: bool


class Retention:
    """The ended jobs of agent.db that go, and what stays of them."""

    def __init__(self, database: Database, counters: Counters) -> None:
        self._database = database
        self._counters = counters

    def due(
        self, *, ended_before: float, most_kept: int | None, apart_from: Collection[int] = ()
    ) -> list[Ended]:
        """Return ended jobs that are too old or too many, the oldest first, at most a batch.

        Those are left out of which the API has yet to learn something.

        Args:
            ended_before: Unix time.
            most_kept: how many of the newest stay; None for all.
            apart_from: numbers of jobs to leave out.
        """
        newest, its_id = max((ended_before, 0), self._newest_surplus(most_kept))
        rows = self._database.connection().execute(
            "SELECT id, (SELECT json_group_array(directory) FROM runs "  # noqa: S608
            "WHERE job_id = jobs.id) "
            "AS directories FROM jobs INDEXED BY jobs_ended "
            f"WHERE {_IS_CONFIRMED} AND finished_at <= ? AND (finished_at < ? OR -id <= ?) "
            "AND id NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY finished_at, id DESC LIMIT ?",
            (newest, newest, its_id, json.dumps([*apart_from]), BATCH),
        )
        return [
            Ended(job_id=row["id"], directories=tuple(json.loads(row["directories"])))
            for row in rows
        ]

    def _newest_surplus(self, most_kept: int | None) -> tuple[float, int]:
        """Return end and negative number of the newest job that is one too many."""
        row = None
        if most_kept is not None:
            row = (
                self._database.connection()
                .execute(
                    "SELECT finished_at, -id FROM jobs INDEXED BY jobs_ended "
                    "WHERE state = 'finished' ORDER BY finished_at DESC, id LIMIT 1 OFFSET ?",
                    (most_kept,),
                )
                .fetchone()
            )
        return (0.0, 0) if row is None else (row[0], row[1])

    def prune(self, job_ids: Collection[int]) -> int:
        """Remove ended jobs, but for their ids, with what belongs to them; return how many.

        Those are kept of which there is something to say to the API by now.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT id FROM jobs WHERE id IN {_GIVEN} AND {_IS_CONFIRMED}",  # noqa: S608
                {"jobs": json.dumps([*job_ids])},
            )
            found = [row["id"] for row in rows]
            given = {
                "jobs": json.dumps(found),
                "now": time.time(),
                "refused": Outcome.REFUSED.value,
            }
            self._remove_copies(given)
            connection.execute(_REMEMBER, given)
            for statement in _REMOVE:
                connection.execute(statement, given)
            self._counters.add(PRUNED, amount=len(found))
        return len(found)

    def _remove_copies(self, given: Mapping[str, object]) -> None:
        # Before they are forgotten: a row without its file is pruned the next time, a file without
        # its row would stay for ever.
        rows = self._database.connection().execute(
            f"SELECT file FROM artifacts WHERE is_copy AND {_OWN_ARTIFACTS}",  # noqa: S608
            given,
        )
        for row in rows.fetchall():
            with contextlib.suppress(OSError):
                Path(row["file"].decode(errors="surrogateescape")).unlink()

    def find(self, text: str) -> PrunedJob | None:
        """Return what stays of the pruned job that a person means: its number, or its task's id."""
        is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
        row = self._database.connection().execute(
            "SELECT * FROM pruned_jobs WHERE id = ? OR task_id = ? LIMIT 1",
            (int(text) if is_number else None, text.encode("utf-8", "replace").decode()),
        )
        found = row.fetchone()
        if found is None:
            return None
        return PrunedJob(**{**dict(found), "may_return": bool(found["may_return"])})

    def count(self) -> int:
        """Return how many jobs were pruned."""
        return int(self._counters.get(PRUNED).get((), 0))
