"""The logins of the pages in the database: what one process lets in or ends, all of them do."""

from __future__ import annotations

import functools
import hashlib
from typing import Final

from keruta_agent.http.problems import Problem
from keruta_agent.server.access import shared_state
from keruta_agent.server.access.auditing import Auditor
from keruta_agent.server.access.grants import Grants
from keruta_agent.server.access.principals import Principal, digest_of
from keruta_agent.server.access.rights import PAGES
from keruta_agent.server.store import audit_rows
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import statement

#: Logins at once; one more ends those that would have ended first.
MOST: Final = 1000
_VISITORS: Final = PAGES["GET", "/"].roles
_SECOND: Final = 1_000_000

_BEGIN: Final = statement("INSERT INTO logins (digest, token, ends_at) VALUES (?, ?, ?)")
_END: Final = statement("DELETE FROM logins WHERE digest = ?")
_FORGET_ENDED: Final = statement("DELETE FROM logins WHERE ends_at <= ?")
_KEEP_NEWEST: Final = statement(
    "DELETE FROM logins WHERE digest NOT IN"
    " (SELECT digest FROM logins ORDER BY ends_at DESC, digest LIMIT ?)"
)


class StoredLogins:
    """The logins that have not ended, for the pages' cookies."""

    def __init__(self, database: Database, grants: Grants, auditor: Auditor) -> None:
        self._database = database
        self._auditor = auditor
        self._grants = grants

    @functools.cached_property
    def key(self) -> bytes:
        """What signs cookies and forms."""
        return shared_state.form_key(self._database)

    @property
    def is_wanted(self) -> bool:
        """Whether visitors have to show a token."""
        return self._grants.is_wanted

    def accepts(self, token: str) -> bool:
        """Return whether one may log in with this token.

        Raises:
            Problem: it is good, and not for the pages (403).
        """
        self._grants.refresh()
        principal = self._grants.of_token(token)
        if principal is not None and principal.role not in _VISITORS:
            raise Problem(
                403,
                "NOT_FOR_PAGES",
                f"a token of the role {principal.role} is not for the pages; ask for a viewer's",
            )
        return principal is not None

    def begin(self, login: str, ends: int, token: str) -> None:
        """Add a login."""
        with self._database.connected(), self._database.transaction():
            self._database.run(_FORGET_ENDED, self._database.now())
            self._database.run(_KEEP_NEWEST, MOST - 1)
            self._database.run(_BEGIN, _digest(login), digest_of(token), ends * _SECOND)
            shared_state.note_change(self._database)
            principal = self._grants.of_token(token)
            if principal is not None:
                known = {"token": principal.name, "role": principal.role.value}
                audit_rows.store_expected(self._database, **known)
        self._grants.refresh()

    def note_failure(self, peer: str) -> None:
        """Note that a wrong token was given."""
        self._auditor.login_failed(peer)

    def end(self, login: str) -> None:
        """End a login."""
        with self._database.connected(), self._database.transaction():
            self._database.run(_END, _digest(login))
            shared_state.note_change(self._database)
            audit_rows.store_expected(self._database)
        self._grants.refresh()

    def is_live(self, login: str) -> bool:
        """Return whether a login has begun and not ended, as far as this process knows."""
        return self.principal(login) is not None

    def principal(self, login: str) -> Principal | None:
        """Return who has logged in."""
        return self._grants.of_login(_digest(login))


def _digest(login: str) -> str:
    return hashlib.sha256(login.encode("utf-8", "replace")).hexdigest()
