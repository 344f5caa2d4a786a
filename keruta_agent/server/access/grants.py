"""Tokens and logins that count, as one process knows them.

They are a copy of a few rows in memory, which is compared with the database once a second at most:
a poll costs no query for its token, and a revoked token is refused everywhere within that second.
What has an end ends by the database's clock, which is read then, too: servers' clocks may be apart.
"""

from __future__ import annotations

import dataclasses
import hmac
import threading
import time
from collections.abc import Mapping
from typing import Final

from keruta_agent.server.access import shared_state, tokens
from keruta_agent.server.access.principals import (
    ANYBODY,
    SINGLE_TOKEN,
    Principal,
    Role,
    digest_of,
)
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import select

#: Seconds for which the copy is believed.
BELIEVED_S: Final = 1.0
#: Seconds between notes that a token is in use.
USE_NOTED_S: Final = 60.0

_LOGINS: Final = select("logins", "ends_at > ?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Copy:
    #: The count of changes that it shows.
    changes: int = -1
    #: By the digests of the tokens.
    principals: Mapping[str, Principal] = dataclasses.field(default_factory=dict)
    #: Whether there ever was a token: to revoke the last one must not open the server.
    has_tokens: bool = False
    #: The digest of the token and the end of each login, by the digest of its id.
    logins: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)


class Grants:
    """Who is let in. Its answers come from memory; ``refresh`` asks the database."""

    def __init__(self, database: Database, *, token: str | None) -> None:
        """Take the database of the tokens, and the one token that is good beside them."""
        self._database = database
        self._single = None if token is None else digest_of(token)
        self._copy = _Copy()
        self._compared_at = float("-inf")
        #: What the database's clock is ahead of the monotonic one, in microseconds.
        self._ahead_us = t.now() - _monotonic_us()
        self._reading = threading.Lock()
        self._using = threading.Lock()
        #: When the use of a token was noted, by the monotonic clock.
        self._noted: dict[int, float] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether those who ask have to show a token."""
        return self._single is not None or self._copy.has_tokens

    def is_fresh(self) -> bool:
        """Return whether the copy was compared within the last second."""
        return time.monotonic() - self._compared_at < BELIEVED_S

    def refresh(self) -> None:
        """Compare the copy with the database; in a thread."""
        with self._reading:
            compared_at = time.monotonic()
            with self._database.connected():
                changes = shared_state.changes(self._database)
                self._ahead_us = self._database.now() - _monotonic_us()
                if changes != self._copy.changes:
                    self._copy = self._read(changes)
            self._compared_at = compared_at

    def _read(self, changes: int) -> _Copy:
        rows = tokens.unrevoked(self._database)
        logins = self._database.all(_LOGINS, self._now())
        return _Copy(
            changes=changes,
            principals={row["digest"]: tokens.to_principal(row) for row in rows},
            has_tokens=tokens.exist(self._database),
            logins={row["digest"]: (row["token"], row["ends_at"]) for row in logins},
        )

    def of_token(self, token: str) -> Principal | None:
        """Return whose token this is; None where it is nobody's, or has expired."""
        return self._of_digest(digest_of(token)) if token.strip() else None

    def of_login(self, digest: str) -> Principal | None:
        """Return who has logged in, by the digest of the login's id; None where it has ended."""
        token, ends_at = self._copy.logins.get(digest, ("", 0))
        return self._of_digest(token) if ends_at > self._now() else None

    def without_token(self) -> Principal | None:
        """Return who asks without a token; None where that is not enough."""
        return None if self.is_wanted else ANYBODY

    def _now(self) -> int:
        return self._ahead_us + _monotonic_us()

    def _of_digest(self, digest: str) -> Principal | None:
        if self._single is not None and hmac.compare_digest(digest, self._single):
            return Principal(name=SINGLE_TOKEN, role=Role.ADMIN, digest=digest)
        found = self._copy.principals.get(digest)
        if found is None or (found.expires_at is not None and found.expires_at <= self._now()):
            return None
        return found

    def is_good(self, principal: Principal) -> bool:
        """Return whether who was let in once still is."""
        if not principal.digest:
            return not self.is_wanted
        return self._of_digest(principal.digest) is not None

    def note_use(self, principal: Principal) -> None:
        """Note that a token is in use, once a minute; in a thread."""
        if not principal.number:
            return
        moment = time.monotonic()
        with self._using:
            if moment - self._noted.get(principal.number, float("-inf")) < USE_NOTED_S:
                return
            self._noted[principal.number] = moment
        tokens.note_use(self._database, principal.number)


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
