"""The intake of a poll: how the API's list of PENDING tasks differs from the jobs, in one read.

A list may name a hundred thousand tasks, and all but a few are known. So the whole list is compared
in the database, without its write lock, and only differences are written.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, TypeVar

from keruta_agent.agent.store.jobs import Jobs, JobState
from keruta_agent.agent.store.run import Outcome
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.agent.store.withdrawals import Withdrawals

#: Most jobs of one transaction: reports have their turn between two.
BATCH: Final = 1000

_Item = TypeVar("_Item")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differences:
    """What the API's list says otherwise than the jobs do."""

    #: Tasks that are no jobs yet.
    unknown: frozenset[str]
    #: Tasks that were left alone and never ran here.
    refused: frozenset[str]
    #: The API's priorities of waiting jobs that changed there.
    moved: Mapping[str, int]


class Intake:
    """The comparison of listed tasks with the jobs of agent.db."""

    def __init__(self, database: Database, jobs: Jobs, withdrawals: Withdrawals) -> None:
        self._database = database
        self._jobs = jobs
        self._withdrawals = withdrawals

    def compare(self, priorities: Mapping[str, int]) -> Differences:
        """Compare the listed tasks, with their priorities by id, with the jobs."""
        rows = self._database.connection().execute(
            "SELECT listed.key AS task_id, state FROM json_each(?) AS listed "
            "LEFT JOIN jobs ON jobs.task_id = listed.key WHERE (state IS NULL AND NOT EXISTS "
            "(SELECT 1 FROM pruned_jobs WHERE task_id = listed.key AND NOT may_return)) "
            "OR (state = ? AND api_priority IS NOT listed.value) "
            "OR (state = ? AND outcome = ? "
            "AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.job_id = jobs.id))",
            (
                json.dumps(priorities),
                JobState.WAITING.value,
                JobState.FINISHED.value,
                Outcome.REFUSED.value,
            ),
        )
        found: dict[str | None, set[str]] = {}
        for row in rows:
            found.setdefault(row["state"], set()).add(row["task_id"])
        # SQLite's JSON ends a text at a NUL character: such a task counts as unknown, and is not
        # recorded twice either.
        odd = {task_id for task_id in priorities if "\0" in task_id}
        unknown = (found.get(None, set()) & priorities.keys()) | odd
        moved = found.get(JobState.WAITING, set())
        return Differences(
            unknown=frozenset(unknown),
            refused=frozenset(found.get(JobState.FINISHED, ())),
            moved={task_id: priorities[task_id] for task_id in moved if task_id in priorities},
        )

    def follow_priorities(self, moved: Mapping[str, int]) -> None:
        """Give waiting jobs the priorities that were changed at the API since it was asked last.

        What a person has moved here stays there until the API's own priority changes.
        """
        for batch in batches(moved.items()):
            with self._database.transaction():
                for task_id, priority in batch:
                    self._follow_priority(task_id, priority)

    def _follow_priority(self, task_id: str, priority: int) -> None:
        job = self._jobs.by_task(task_id)
        if job is None or job.state is not JobState.WAITING:  # it has begun meanwhile
            return
        self._database.connection().execute(
            "UPDATE jobs SET api_priority = ? WHERE id = ?", (priority, job.id)
        )
        if job.api_priority is not None:
            self._jobs.set_priority(job.id, priority)

    def revive(self, task_ids: Iterable[str]) -> dict[str, int]:
        """Requeue tasks that were left alone and never ran here; return the ids of their jobs.

        To be called for tasks that are PENDING and claimed by nobody: a person has released them.
        """
        revived: dict[str, int] = {}
        for batch in batches(task_ids):
            with self._database.transaction():
                for task_id in batch:
                    job_id = self._withdrawals.revive(task_id)
                    if job_id is not None:
                        revived[task_id] = job_id
        return revived


def batches(items: Iterable[_Item]) -> Iterable[Sequence[_Item]]:
    """Yield parts of at most ``BATCH`` items; an iterator is read no further than that."""
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        yield batch
