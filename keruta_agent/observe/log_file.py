"""The daemon's log file: rotated by size and age, by us or by somebody else.

Whoever moves the file away (logrotate does) finds the next line in a new file of the old name;
who wants that new file at once calls ``reopen``, which SIGUSR1 does. A file that cannot be
rotated is written to all the same: a line is worth more than a limit.
"""

from __future__ import annotations

import dataclasses
import io
import logging.handlers
import os
import re
import stat
import time
from datetime import datetime
from pathlib import Path
from typing import Final

#: Seconds before a rotation that failed is tried again.
PATIENCE_S: Final = 60.0
#: Bytes at the beginning of a file in which its first line says when it was written.
_FIRST_BYTES: Final = 4096
_DATE: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rotation:
    """When a file gives way to a new one, and how many old ones are kept."""

    #: 0: never.
    max_bytes: int = 10 * 1024 * 1024
    #: Seconds since its first line; 0: never.
    max_age_s: float = 0.0
    backups: int = 5


class LogFile(logging.handlers.RotatingFileHandler):
    """Writes a log file that only its owner can read."""

    def __init__(self, file: Path, rotation: Rotation) -> None:
        """Opens the file.

        Raises:
            OSError: it cannot be written.
        """
        self._max_age_s = rotation.max_age_s
        self._not_before = 0.0
        self._began = time.time()
        self._identity = (0, 0)
        super().__init__(
            file,
            maxBytes=rotation.max_bytes,
            backupCount=rotation.backups,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def reopen(self) -> None:
        """Goes on in the file that has the name now, and makes it if there is none."""
        if self.lock is None:
            return
        with self.lock:
            self._close_stream()
            self.stream = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record, to the file that has the name now."""
        try:
            if not self._is_still_there():
                self._close_stream()
        except OSError:
            self.handleError(record)
        super().emit(record)

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        """Tells whether a new file is to begin before this record."""
        if time.monotonic() < self._not_before:
            return False
        if self.stream is None:
            self.stream = self._open()
        if not stat.S_ISREG(os.fstat(self.stream.fileno()).st_mode):
            return False
        is_old = bool(self._max_age_s) and time.time() - self._began >= self._max_age_s
        return (is_old and self.stream.tell() > 0) or bool(super().shouldRollover(record))

    def doRollover(self) -> None:
        """Begins a new file; goes on in the old one when that is not possible."""
        try:
            super().doRollover()
        except OSError:
            self._not_before = time.monotonic() + PATIENCE_S
            if self.stream is None:
                self.stream = self._open()

    def _open(self) -> io.TextIOWrapper:
        descriptor = os.open(
            self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        status = os.fstat(descriptor)
        self._identity = (status.st_dev, status.st_ino)
        self._began = _first_time(self.baseFilename, status)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)  # noqa: PTH123 - a descriptor

    def _is_still_there(self) -> bool:
        try:
            status = Path(self.baseFilename).stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def _close_stream(self) -> None:
        if self.stream is not None:
            self.stream.close()
            self.stream = None


def _first_time(path: str, status: os.stat_result) -> float:
    """Returns when a file's first line was written, as Unix time; now for an empty one."""
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return time.time()
    with open(path, "rb") as file:  # noqa: PTH123 - as the handler names it
        first = file.readline(_FIRST_BYTES).decode("utf-8", errors="replace")
    found = _DATE.search(first)
    try:
        return datetime.fromisoformat(found[0]).timestamp() if found else status.st_mtime
    except (ValueError, OverflowError):
        return status.st_mtime
