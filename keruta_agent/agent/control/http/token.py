"""The token of the daemon's HTTP API: the one that was set, else one made up once and kept.

The file is for the agent's user: ``curl -H "Authorization: Bearer $(cat ~/.keruta/http-token)"``.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path
from typing import Final

from keruta_agent.agent.run.files import read_small
from keruta_agent.core import errors
from keruta_agent.core.settings.schema import Settings

logger = logging.getLogger(__name__)

TOKEN_FILE: Final = "http-token"  # noqa: S105 - a name
_RANDOM_BYTES: Final = 32
#: Characters below which the file holds no token, but what is left of one.
_SHORTEST: Final = 32


def token_of(settings: Settings) -> str | None:
    """Return the token in force, None while there is none yet."""
    return settings.daemon_token or _kept(settings.base_dir / TOKEN_FILE)


def make_token(settings: Settings) -> str:
    """Return the token in force; make one up, for this user's eyes only, if there is none.

    The caller holds the lock of the base directory.

    Raises:
        AgentStateError: it cannot be stored.
    """
    known = token_of(settings)
    if known is not None:
        return known
    path = settings.base_dir / TOKEN_FILE
    token = secrets.token_urlsafe(_RANDOM_BYTES)
    try:
        write_private(path, f"{token}\n")
    except OSError as exc:
        raise errors.AgentStateError(
            f"cannot store the token of the HTTP API in {path}: {exc.strerror}",
            advice="Make room, or set KERUTA_DAEMON_TOKEN",
        ) from exc
    logger.info("made up a token for the HTTP API: %s", path, extra={"action": "token_made"})
    return token


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, as a whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)  # left by an agent that was killed
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _kept(path: Path) -> str | None:
    try:
        text = (read_small(path) or "").strip()
    except OSError:  # not readable by us: it is made anew
        return None
    if len(text) < _SHORTEST or not text.isascii() or " " in text:
        return None
    return text
