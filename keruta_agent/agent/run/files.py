"""Safe opening of files in a directory that a hostile or broken script may have changed.

A run directory belongs to the script's user, so a script can put a device, a pipe, a link or a
directory in the place of any file. Whoever reads there must neither block, nor read without end,
nor fail in a way that nobody expects.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, Final

from keruta_agent.core import bounded_json

#: Bytes of a small file, such as an exit record; whatever is larger is none.
SMALL_BYTES: Final = 256 * 1024


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor.

    Raises:
        FileNotFoundError: there is no regular file there: it is gone, or something else now.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO, errno.ENOTDIR):
            raise FileNotFoundError(errno.ENOENT, "no regular file", str(path)) from exc
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "no regular file", str(path))


def read_small(path: Path) -> str | None:
    """Return a small file as text; None when there is none, or none that we may read."""
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, PermissionError):  # whose it is may take the right to read it away
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(SMALL_BYTES + 1)
    if len(data) > SMALL_BYTES:
        return None
    return data.decode("utf-8", errors="replace")


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whatever the umask.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def from_json(text: str | bytes) -> Any:
    """Parse JSON that another process wrote.

    Raises:
        ValueError: it is not JSON, nested more deeply than can be read, or says too much.
    """
    return bounded_json.loads(text)


def read_kernel(path: str, *, most: int = 4096) -> bytes:
    """Return the beginning of a file of /proc; half the cost of pathlib, which counts for hundreds.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)
