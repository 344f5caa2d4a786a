"""The journal: what happened to each job, one line an event, never changed.

``keruta explain`` tells a job's story from it. An event is stored in the transaction of the fact
that it records.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

from keruta_agent.agent.store.sqlite.database import Database


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to a job."""

    #: Unix time.
    at: float
    action: str
    run_number: int | None
    detail: Mapping[str, Any]


class Journal:
    """The journal of agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, action: str, job_id: int, run_number: int | None = None, **detail: object
    ) -> None:
        """Add an event to a job's story."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO journal (at, job_id, run_number, action, detail) "
                "VALUES (?, ?, ?, ?, ?)",
                (time.time(), job_id, run_number, action, json.dumps(detail)),
            )

    def add_recorded(self, *, after_job: int) -> None:
        """Begin the stories of all jobs behind a job; they are of this very transaction."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO journal (at, job_id, action, detail) "
                "SELECT recorded_at, id, 'recorded', json_object('priority', priority) "
                "FROM jobs WHERE id > ? ORDER BY id",
                (after_job,),
            )

    def of_job(self, job_id: int) -> list[Event]:
        """Return a job's story, from its beginning."""
        rows = self._database.connection().execute(
            "SELECT at, action, run_number, detail FROM journal WHERE job_id = ? ORDER BY id",
            (job_id,),
        )
        return [Event(**{**dict(row), "detail": json.loads(row["detail"])}) for row in rows]
