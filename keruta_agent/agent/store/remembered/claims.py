"""Whether the API is known to have claims: remembered, for a start while it is away.

Without it a daemon that starts during an outage would run tasks unclaimed that another agent runs.
"""

from __future__ import annotations

from typing import Final

from keruta_agent.agent.store.sqlite.database import Database

_FLAG: Final = "api_with_claims"


class KnownClaims:
    """The flag of agent.db that names the API with claims."""

    def __init__(self, database: Database, api_url: str) -> None:
        self._database = database
        self._api_url = api_url
        self._are_known = self._stored() == api_url

    @property
    def are_known(self) -> bool:
        """Whether the API had claims when it was asked last."""
        return self._are_known

    def learn(self, has_claims: bool) -> None:
        """Remember whether the API has claims."""
        if has_claims is self._are_known:
            return
        with self._database.transaction() as connection:
            if has_claims:
                connection.execute(
                    "INSERT INTO flags (name, value) VALUES (?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (_FLAG, self._api_url),
                )
            else:
                connection.execute("DELETE FROM flags WHERE name = ?", (_FLAG,))
        self._are_known = has_claims

    def _stored(self) -> str | None:
        row = self._database.connection().execute(
            "SELECT value FROM flags WHERE name = ?", (_FLAG,)
        )
        found = row.fetchone()
        return None if found is None else str(found["value"])
