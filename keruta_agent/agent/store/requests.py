"""Jobs by the request that made them: asked again, the same request makes no second job.

The answer to a request is lost when the daemon is killed between storing a job and saying so. The
client then asks the next daemon, or does it itself, with the key of its first attempt.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from keruta_agent.agent.store.sqlite.database import Database

#: Requests that are remembered. A client asks again within seconds, not after hundreds of others.
MOST_REQUESTS: Final = 200
_FLAG: Final = "recent_requests"


class RecentRequests:
    """The requests that made the newest jobs of agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def once(self, key: str, record_job: Callable[[], int]) -> int:
        """Record a job, unless a request with this key has done so; return the job's id."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT value FROM flags WHERE name = ?", (_FLAG,)).fetchone()
            known: dict[str, int] = {} if row is None else json.loads(row["value"])
            if key in known:
                return known[key]
            known[key] = record_job()
            newest = dict(list(known.items())[-MOST_REQUESTS:])
            connection.execute(
                "INSERT INTO flags (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (_FLAG, json.dumps(newest)),
            )
            return known[key]
