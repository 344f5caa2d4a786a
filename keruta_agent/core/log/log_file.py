"""The daemon's log file: rotated by size and age, by the daemon or another program.

The standard library rotates by size (``RotatingFileHandler``) and follows a file that somebody
moved away, as logrotate does (``WatchedFileHandler``). What it cannot do is here: an age that a
restarted daemon remembers (``TimedRotatingFileHandler`` counts from the last line before its
start), a file for its owner alone, and a line that is worth more than a rotation that fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging.handlers
import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Final

#: Seconds before a rotation that failed is tried again.
RETRY_AFTER_S: Final = 60.0
#: Bytes at the beginning of a file in which its first line says when it was written.
_FIRST_BYTES: Final = 4096
_DATE: Final = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:\d\d)?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotation:
    """When a file is rotated, and how many old ones are kept."""

    #: 0: never.
    max_bytes: int = 10 * 1024 * 1024
    #: Seconds since its first line; 0: never.
    max_age_s: float = 0.0
    backups: int = 5


class LogFile(logging.handlers.RotatingFileHandler, logging.handlers.WatchedFileHandler):
    """A log file that only its owner can read."""

    def __init__(self, file: Path, rotation: Rotation) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be written.
        """
        self._max_age_s = rotation.max_age_s
        self._not_before = 0.0
        self.dev = self.ino = -1  # of WatchedFileHandler, whose own beginning is passed over
        logging.handlers.RotatingFileHandler.__init__(
            self,
            file,
            maxBytes=rotation.max_bytes,
            backupCount=rotation.backups,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def reopen(self) -> None:
        """Go on in the file that has the name now, and make it if there is none."""
        with self.lock or contextlib.nullcontext():
            self.reopenIfNeeded()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, to the file that has the name now."""
        try:
            self.reopenIfNeeded()
        except OSError:
            self.handleError(record)
        logging.handlers.RotatingFileHandler.emit(self, record)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Return whether a new file is to begin before this record."""
        if time.monotonic() < self._not_before:
            return False
        return self._is_old() or bool(super().shouldRollover(record))

    def doRollover(self) -> None:
        """Begin a new file; go on in the old one when that is not possible."""
        try:
            super().doRollover()
        except OSError:
            self._not_before = time.monotonic() + RETRY_AFTER_S

    def _open(self) -> io.TextIOWrapper:
        stream = open(  # noqa: SIM115 - as the standard library's own does
            self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=_open_private
        )
        self._began = _first_time(Path(self.baseFilename))
        return stream

    def _is_old(self) -> bool:
        if not self._max_age_s or time.time() - self._began < self._max_age_s:
            return False
        is_file = Path(self.baseFilename).is_file()
        return is_file and self.stream is not None and self.stream.tell() > 0


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _first_time(file: Path) -> float:
    """Return when a file's first line was written, as Unix time; now for an empty one."""
    if not file.is_file() or file.stat().st_size == 0:
        return time.time()
    with file.open("rb") as stream:
        found = _DATE.search(stream.readline(_FIRST_BYTES))
    with contextlib.suppress(ValueError, OverflowError):
        if found is not None:
            return datetime.fromisoformat(found[0].decode("ascii")).timestamp()
    return file.stat().st_mtime
