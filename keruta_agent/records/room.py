"""Tells a disk that takes nothing, which is no job's fault and may pass, from other failures.

It is full, or the kernel made it read-only, or it fails.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from pathlib import Path
from typing import Final

from keruta_agent import errors

logger = logging.getLogger(__name__)

#: Seconds without a failure after which there is room again: small writes may pass between two.
QUIET_S: Final = 10.0


#: What SQLite says of the file system below it.
_OF_THE_DISK: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
)
#: What to do about a damaged agent.db.
DAMAGED_ADVICE: Final = (
    "Stop the daemon, then restore agent.db from a copy or move it away: what the API and the run "
    "directories know is found again. See: keruta doctor"
)


def is_wanting(exc: BaseException) -> bool:
    """Tells whether something could not be stored because the disk takes nothing."""
    if isinstance(exc, OSError):
        return exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if not isinstance(exc, sqlite3.OperationalError):
        return False
    # An extended code has the plain one in its last byte.
    return "full" in str(exc) or (getattr(exc, "sqlite_errorcode", 0) & 0xFF) in _OF_THE_DISK


def failure_to_store(exc: OSError | sqlite3.Error) -> errors.AgentStateError:
    """Returns what people are told of a failure to read or write the records, or a run's files."""
    if is_wanting(exc):
        return errors.AgentStateError(
            f"nothing can be stored: {exc}",
            advice="Make room on the disk of the base directory, or make it writable again "
            "(keruta doctor), and then do this again",
        )
    if type(exc) is sqlite3.DatabaseError:  # its kinds are about something else
        return errors.AgentStateError(
            f"the agent's database is damaged: {exc}",
            advice=DAMAGED_ADVICE,
        )
    return errors.AgentStateError(f"the agent's files cannot be used now: {exc}")


class Room:
    """Says once that the disk of a directory takes nothing, and once that it does again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        #: Monotonic time of the last failure, None while there is room.
        self._failed_at: float | None = None

    def is_wanting(self, exc: BaseException) -> bool:
        """Tells whether a failure was for want of room, and says so."""
        if not is_wanting(exc):
            return False
        if self._failed_at is None:
            logger.warning(
                "nothing can be stored on the disk of %s; until that is mended everything waits, "
                "and then goes on: %s",
                self._directory,
                exc,
                extra={"action": "no_room"},
            )
        self._failed_at = time.monotonic()
        return True

    def was_found(self) -> None:
        """Notes that something was stored."""
        if self._failed_at is not None and time.monotonic() - self._failed_at > QUIET_S:
            self._failed_at = None
            logger.info(
                "the disk of %s can be written again",
                self._directory,
                extra={"action": "room_found"},
            )
