"""Who this agent is to servers: an id in the base directory, and a fingerprint of the place.

The id stays through crashes, upgrades and moves, so that the agent keeps the tasks that it has
claimed. A base directory that was copied, or came with a container's image, has the same id twice;
the fingerprint distinguishes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import socket
import uuid
from pathlib import Path
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.boot_clock import boot_id
from keruta_agent.core.model import AgentIdentity

logger = logging.getLogger(__name__)

ID_NAME: Final = "agent.id"

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID_BYTES: Final = 64
_MACHINE_ID: Final = Path("/etc/machine-id")
_FINGERPRINT_CHARACTERS: Final = 32


def identity_of(base_dir: Path) -> AgentIdentity:
    """Return the identity of a base directory's agent; its lock must be held.

    Raises:
        AgentStateError: the id can be neither read nor stored.
    """
    try:
        agent_id = _read(base_dir / ID_NAME)
        if agent_id is None:
            agent_id = str(uuid.uuid4())
            keep(base_dir, agent_id)
        return AgentIdentity(
            id=agent_id, instance=_fingerprint(base_dir), host=socket.gethostname()
        )
    except OSError as exc:
        raise errors.AgentStateError(
            f"cannot use the agent's id {base_dir / ID_NAME}: {exc.strerror}",
            advice="Give this user write access to the directory, or choose another one with "
            "KERUTA_BASE_DIR",
        ) from exc


def keep(base_dir: Path, agent_id: str) -> None:
    """Store an agent's id: as a whole, or not at all.

    Raises:
        OSError: it cannot be stored.
    """
    path = base_dir / ID_NAME
    temporary = base_dir / f"{ID_NAME}.new"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{agent_id}\n")
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)


def _read(path: Path) -> str | None:
    """Return the stored id, None when there is none that can be used."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(_ID_BYTES).decode("ascii", errors="replace").strip()
    if _ID.fullmatch(text):
        return text
    logger.warning(
        "%s holds no id of an agent; this one gets a new id, and what it has claimed stays with "
        "the old one until a person releases it",
        path,
        extra={"action": "agent_id_renewed"},
    )
    return None


def _fingerprint(base_dir: Path) -> str:
    """Return what two living copies of a base directory differ in."""
    place = base_dir.stat()
    parts = [boot_id(), socket.gethostname(), f"{place.st_dev}:{place.st_ino}"]
    with contextlib.suppress(OSError):  # not every container has one
        parts.append(_MACHINE_ID.read_text(encoding="ascii", errors="replace").strip())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_FINGERPRINT_CHARACTERS]
