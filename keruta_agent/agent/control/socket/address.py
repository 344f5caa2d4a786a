"""Where the agent's unix socket is.

It stands in the base directory, which is private, and nowhere else: a name in a directory that
everybody writes to could be taken by somebody else first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "agent.sock"
#: The kernel's limit is 108 bytes with the final NUL.
LONGEST_PATH: Final = 107


def socket_path(base_dir: Path) -> Path:
    """Return the path of the socket."""
    return base_dir / SOCKET_NAME


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Yield what to bind or connect to for a socket's path, which may be of any length.

    A path that is too long for the kernel is reached through its directory, opened.

    Raises:
        OSError: the directory cannot be opened.
    """
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def prepare_socket_path(base_dir: Path) -> Path:
    """Return the path of the socket, with nothing there."""
    path = socket_path(base_dir)
    path.unlink(missing_ok=True)
    return path
