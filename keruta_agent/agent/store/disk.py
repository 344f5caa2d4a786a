"""The disk of the base directory, and what to do while it cannot be written.

It is full, or the kernel made it read-only, or it fails. That is no job's fault and may pass, so
that it is distinguished from all other failures.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from keruta_agent.core import errors

logger = logging.getLogger(__name__)

#: Seconds without a failure after which the disk is writable again: a small write may succeed
#: between two failures.
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


def is_unwritable(exc: BaseException) -> bool:
    """Return whether something could not be stored because the disk cannot be written."""
    if isinstance(exc, OSError):
        return exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if not isinstance(exc, sqlite3.OperationalError):
        return False
    # An extended code has the plain one in its last byte.
    return "full" in str(exc) or (getattr(exc, "sqlite_errorcode", 0) & 0xFF) in _OF_THE_DISK


def failure_to_store(exc: OSError | sqlite3.Error) -> errors.AgentStateError:
    """Return the error for people: the records, or a run's files, cannot be read or written."""
    if is_unwritable(exc):
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


#: A file that only occupies space, until the agent needs it.
RESERVE_NAME: Final = "reserve"
#: Bytes of it: many ends of runs, and the log of the database about them.
RESERVE_BYTES: Final = 4 * 1024 * 1024
#: On a small disk, its share.
_RESERVE_SHARE: Final = 16
#: Bytes: with less than this a disk is full.
_TIGHT_BYTES: Final = 64 * 1024


class Disk:
    """The disk of the base directory.

    It logs once that the disk cannot be written, and once that it can again. It holds a reserve: a
    run may fill the disk, and then its end could never be recorded.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reserve = directory / RESERVE_NAME
        #: Monotonic time of the last failure, None while the disk is writable.
        self._failed_at: float | None = None
        self.holds_reserve = False
        #: Whether there was no space for it at the last attempt.
        self.lacks_reserve = False

    def hold_reserve(self) -> bool:
        """Allocate the reserve if there is space for more than it; return whether it is held."""
        if not self.holds_reserve:
            volume = os.statvfs(self._directory)
            size = min(RESERVE_BYTES, volume.f_blocks * volume.f_frsize // _RESERVE_SHARE)
            has_space = self._reserve.exists() or self._free() >= 3 * size
            self.holds_reserve = has_space and self._take(size)
        self.lacks_reserve = not self.holds_reserve
        return self.holds_reserve

    def release_reserve(self) -> None:
        """Free the reserve for what must be stored now; ask first whether it is held."""
        self._reserve.unlink(missing_ok=True)
        self.holds_reserve = False
        self.lacks_reserve = True
        logger.warning(
            "the disk of %s is full: the agent's reserve is used to record what has ended",
            self._directory,
            extra={"action": "reserve_used"},
        )

    def is_full(self) -> bool:
        """Return whether next to no space is free, the reserve not counted."""
        try:
            return self._free() < _TIGHT_BYTES
        except OSError:  # the directory is gone, which others notice
            return False

    @property
    def problem(self) -> str | None:
        """What is wrong with the disk, for people."""
        if self.is_full() or self._failed_at is not None:
            return f"the disk of {self._directory} takes nothing more: make room"
        if self.lacks_reserve:
            return f"the disk of {self._directory} is nearly full"
        return None

    def _free(self) -> int:
        volume = os.statvfs(self._directory)
        return (volume.f_bavail if os.geteuid() else volume.f_bfree) * volume.f_frsize

    def _take(self, size: int) -> bool:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._reserve, flags, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError:  # there is no space after all, or the disk cannot be written
            self._reserve.unlink(missing_ok=True)
            return False
        return True

    def is_unwritable(self, exc: BaseException) -> bool:
        """Return whether a failure was one of the disk, and log the first."""
        if not is_unwritable(exc):
            return False
        if self._failed_at is None:
            logger.warning(
                "nothing can be stored on the disk of %s; until that is repaired everything waits, "
                "and then goes on: %s",
                self._directory,
                exc,
                extra={"action": "no_room"},
            )
        self._failed_at = time.monotonic()
        return True

    def note_written(self) -> None:
        """Note that something was stored; log the end of the failures."""
        if self._failed_at is not None and time.monotonic() - self._failed_at > QUIET_S:
            self._failed_at = None
            logger.info(
                "the disk of %s can be written again",
                self._directory,
                extra={"action": "room_found"},
            )
