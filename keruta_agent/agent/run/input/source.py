"""Where a script reads its answers from: the run's FIFO, or its terminal."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import termios
from pathlib import Path
from typing import Final

from keruta_agent.agent.run.files import read_kernel, read_small
from keruta_agent.agent.run.input.stdin import open_for_writing, unread_bytes

#: /dev/tty: whatever terminal controls the process that opens it (Documentation/admin-guide/
#: devices.txt of Linux).
CONTROLLING_TERMINAL: Final = os.makedev(5, 0)
_TERMINAL_NAME: Final = re.compile(r"/dev/pts/\d+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """An open file that answers come from, as it is at this moment."""

    status: os.stat_result
    #: Whether something lies there that the script has not read yet.
    has_unread: bool
    #: Whether what is typed is not shown, as when a password is asked for.
    hides_keys: bool = False

    def is_open_as(self, file: os.stat_result, pid: int) -> bool:
        """Return whether an open file of a process is this one."""
        if not stat.S_ISCHR(self.status.st_mode):
            return os.path.samestat(file, self.status)
        if not stat.S_ISCHR(file.st_mode):
            return False
        if file.st_rdev == CONTROLLING_TERMINAL:
            return _controlling_terminal(pid) == self.status.st_rdev
        return file.st_rdev == self.status.st_rdev


def look_at_fifo(path: Path) -> Source | None:
    """Return the FIFO; None when there is none, or no process reads it."""
    descriptor = open_for_writing(path)
    if descriptor is None:
        return None
    try:
        return Source(status=os.fstat(descriptor), has_unread=unread_bytes(descriptor) > 0)
    finally:
        os.close(descriptor)


def look_at_terminal(note: Path) -> Source | None:
    """Return the terminal that a file names; None when it is gone."""
    name = (read_small(note) or "").strip()
    if not _TERMINAL_NAME.fullmatch(name):  # the script wrote it itself
        return None
    flags = os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags)
    except OSError:
        return None
    try:
        modes = termios.tcgetattr(descriptor)[3]
        return Source(
            status=os.fstat(descriptor),
            has_unread=unread_bytes(descriptor) > 0,
            # An editor shows keys itself: it takes them one by one, without waiting for Enter.
            hides_keys=not modes & termios.ECHO and bool(modes & termios.ICANON),
        )
    except (termios.error, OSError):
        return None
    finally:
        os.close(descriptor)


def _controlling_terminal(pid: int) -> int | None:
    try:
        text = read_kernel(f"/proc/{pid}/stat")
    except OSError:
        return None
    return int(text.rpartition(b")")[2].split()[4])
