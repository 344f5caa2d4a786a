"""Where the agent's unix socket is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from keruta_agent.records.database import make_private_directory

SOCKET_NAME: Final = "agent.sock"
#: The kernel's limit is 108 bytes with the final NUL.
LONGEST_PATH: Final = 107


def socket_path(base_dir: Path) -> Path:
    """Returns the path of the socket: in the base directory, unless that is too long a path."""
    path = base_dir / SOCKET_NAME
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(base_dir)).hexdigest()[:16]
    # Not TMPDIR: it may be too long itself, and another in the daemon than in the command.
    return Path("/tmp") / f"keruta-{os.geteuid()}-{digest}" / SOCKET_NAME  # noqa: S108


def prepare_socket_path(base_dir: Path) -> Path:
    """Returns the path of the socket with its directory made, private to this user.

    Raises:
        AgentStateError: the directory is somebody else's or cannot be made.
    """
    path = socket_path(base_dir)
    if path.parent != base_dir:
        make_private_directory(path.parent)
    path.unlink(missing_ok=True)
    return path
