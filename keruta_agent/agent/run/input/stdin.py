"""The run's standard input from outside: writes answers into the FIFO without ever waiting.

The FIFO lies in the run directory, where a script can put anything else in its place, and a
script need not read it. Neither may hold up the agent, and an answer arrives whole or not at all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import termios
from pathlib import Path
from typing import Final

from keruta_agent.core import errors

#: Bytes that the kernel takes as one, or refuses (PIPE_BUF of pipe(7)).
ATOMIC_BYTES: Final = 4096
#: Bytes of a line that a terminal takes; it drops what is beyond (N_TTY_BUF_SIZE, less its end).
LONGEST_TYPED_LINE: Final = 4094
#: From linux/fcntl.h; Python's fcntl has it from 3.10 on, but not in its type stubs.
F_GETPIPE_SZ: Final = 1032


def open_for_writing(path: Path) -> int | None:
    """Open the FIFO for writing; None when it is none, or no process reads it."""
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
    try:
        if not stat.S_ISFIFO(path.lstat().st_mode):
            return None
        descriptor = os.open(path, flags)
    except OSError as exc:
        if exc.errno in (errno.ENXIO, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return None
        raise
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def is_read(path: Path) -> bool:
    """Return whether a script has the FIFO open for reading."""
    descriptor = open_for_writing(path)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def unread_bytes(descriptor: int) -> int:
    """Return how many bytes wait in a pipe or a terminal for their reader."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def write_line(path: Path, text: str, *, as_keys: bool) -> None:
    """Write a line for the script, whole or not at all.

    Raises:
        InputRefused: nobody reads it, there is no room for it now, or it is too long.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise errors.InputRefused("cannot give the script an answer that is no text") from None
    data = _keys(data) if as_keys else _line(data)
    descriptor = _open_to_answer(path)
    try:
        _write(descriptor, data)
    finally:
        os.close(descriptor)


def write_some(path: Path, data: bytes) -> bool:
    """Write data as it is if there is room for all of it; return whether there was.

    Raises:
        InputRefused: nobody reads it.
    """
    descriptor = _open_to_answer(path)
    try:
        room = fcntl.fcntl(descriptor, F_GETPIPE_SZ)
        # Beyond ATOMIC_BYTES the kernel takes a part when there is no room for all of it.
        if len(data) > room or (len(data) > ATOMIC_BYTES and unread_bytes(descriptor)):
            return False
        os.write(descriptor, data)
    except BlockingIOError:
        return False
    except BrokenPipeError:
        raise _just_closed() from None
    finally:
        os.close(descriptor)
    return True


def _open_to_answer(path: Path) -> int:
    descriptor = open_for_writing(path)
    if descriptor is None:
        raise errors.InputRefused(
            "cannot give the script an answer: nothing of it reads its standard input"
        )
    return descriptor


def _line(data: bytes) -> bytes:
    return data if data.endswith(b"\n") else data + b"\n"


def _keys(data: bytes) -> bytes:
    """Return the bytes that a keyboard would send: its Enter is a carriage return."""
    keys = data.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    if not keys or keys[-1] >= 0x20:
        keys += b"\r"
    longest = max(len(line) for line in keys.split(b"\r"))
    if longest > LONGEST_TYPED_LINE:
        raise _too_long(longest, LONGEST_TYPED_LINE)
    return keys


def _write(descriptor: int, data: bytes) -> None:
    room = fcntl.fcntl(descriptor, F_GETPIPE_SZ)
    if len(data) > room:
        raise _too_long(len(data), room)
    # Beyond this size the kernel takes a part when there is no room for all of it.
    if len(data) > ATOMIC_BYTES and unread_bytes(descriptor):
        raise _not_read_yet()
    try:
        os.write(descriptor, data)
    except BlockingIOError:
        raise _not_read_yet() from None
    except BrokenPipeError:
        raise _just_closed() from None


def _just_closed() -> errors.InputRefused:
    return errors.InputRefused(
        "cannot give the script an answer: it has just closed its standard input"
    )


def _too_long(size: int, most: int) -> errors.InputRefused:
    return errors.InputRefused(
        f"cannot give the script an answer of {size} bytes: {most} is the most",
        advice="Put it into a file and answer with its name",
    )


def _not_read_yet() -> errors.InputRefused:
    return errors.InputRefused(
        "cannot give the script an answer: it has not read the answer before",
        advice="Try again when it has",
    )
