"""The repository of each session, as the API named it last: an API that is away holds nothing up.

An address is stored without its password.
"""

from __future__ import annotations

import json
from typing import Final

from keruta_agent.agent.store.sqlite.database import Database

_FLAG: Final = "repository:"


class Repositories:
    """The repositories of sessions in agent.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def remember(self, session_id: str, address: str, ref: str) -> None:
        """Store which repository a session names; empty when it names none."""
        if self.of(session_id) == (address, ref):
            return
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO flags (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (f"{_FLAG}{session_id}", json.dumps([address, ref])),
            )

    def of(self, session_id: str) -> tuple[str, str] | None:
        """Return the address and the ref of a session's repository, None when it is unknown."""
        return self.all().get(session_id)

    def all(self) -> dict[str, tuple[str, str]]:
        """Return the address and the ref by session."""
        rows = self._database.connection().execute(
            "SELECT name, value FROM flags WHERE substr(name, 1, ?) = ?", (len(_FLAG), _FLAG)
        )
        found = {row["name"].removeprefix(_FLAG): json.loads(row["value"]) for row in rows}
        return {session: (str(pair[0]), str(pair[1])) for session, pair in found.items()}
