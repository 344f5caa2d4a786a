"""Logins by one token, kept in files: those of a daemon's pages.

The key is also made from the token, so that a new token ends all logins.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from keruta_agent.http.pages.live_logins import LiveLogins

logger = logging.getLogger(__name__)

_KEY_BYTES: Final = 32


class FileLogins:
    """The logins of one token."""

    is_wanted = True

    def __init__(self, key_file: Path, *, token: str) -> None:
        """Take the file of the key, which is made when it is missing; the logins are beside it.

        Raises:
            OSError: the key cannot be read or made.
        """
        self._token = hashlib.sha256(token.encode()).digest()
        self.key = hmac.digest(stored_key(key_file), self._token, "sha256")
        self._live = LiveLogins(
            key_file.with_name(f"{key_file.stem}.logins"),
            realm=hmac.digest(self.key, b"realm\n", "sha256").hex(),
        )

    def accepts(self, token: str) -> bool:
        """Return whether this is the token."""
        given = hashlib.sha256(token.strip().encode("utf-8", "replace")).digest()
        return hmac.compare_digest(given, self._token)

    def note_failure(self, peer: str) -> None:
        """Note that a wrong token was given by a peer."""
        logger.warning(
            "%s has given a wrong token at the login", peer, extra={"action": "login_refused"}
        )

    def begin(self, login: str, ends: int, token: str) -> None:
        """Add a login.

        Raises:
            OSError: it cannot be stored, and does not count.
        """
        self._live.begin(login, ends)

    def end(self, login: str) -> None:
        """End a login permanently.

        Raises:
            OSError: that cannot be stored.
        """
        self._live.end(login)

    def is_live(self, login: str) -> bool:
        """Return whether a login has begun and not ended."""
        return self._live.is_live(login)


def stored_key(path: Path) -> bytes:
    """Return the key that a file holds, which is made when it is missing.

    Raises:
        OSError: the file cannot be read or made.
    """
    if not path.exists():
        # Linked into place complete: a key that is cut off would be guessed.
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            draft.unlink()
    return path.read_bytes()
