"""Names of the branches on which tasks work."""

from __future__ import annotations

import hashlib
import re
from typing import Final

#: Characters of an id that a name keeps.
SHORT: Final = 8
#: What every branch of the agent begins with; nothing else is ever pushed to.
PREFIX: Final = "keruta-"
_HEX_AND_HYPHENS: Final = re.compile(r"[0-9a-fA-F]{8}[0-9a-fA-F-]*")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]+")


def name_for(session_id: str, task_id: str, *, is_taken: bool = False) -> str:
    """Return the name of a task's branch.

    What identifies the task is shortened to eight characters, as people expect it; a hash is added
    where that loses what tells two tasks apart, or where another task has the name (``is_taken``).
    """
    session, task = _short(session_id), _short(task_id)
    if session and task:
        name = f"{PREFIX}task-{session}-{task}"
    elif session:
        name = f"{PREFIX}session-{session}"
    elif task:
        name = f"{PREFIX}task-{task}"
    else:
        name = f"{PREFIX}branch"
    if is_taken or not (_identifies(session_id, session) and _identifies(task_id, task)):
        name += f"-{_digest(session_id, task_id)}"
    return name


def failed_name(branch: str) -> str:
    """Return the name of the branch for what a failed run of a task left."""
    return f"{branch}-failed"


def is_ours(branch: str) -> bool:
    """Return whether a branch bears a name of this module."""
    return branch.startswith(PREFIX)


def _short(identity: str) -> str:
    """Return the part before the first hyphen, else the first eight characters."""
    if len(identity) < SHORT:
        return ""
    part = identity.partition("-")[0] if "-" in identity else identity[:SHORT]
    return _UNSAFE.sub("", part)


def _identifies(identity: str, short: str) -> bool:
    """Return whether a short form is as unique as the identity."""
    if identity == short:
        return True
    return len(short) == SHORT and _HEX_AND_HYPHENS.fullmatch(identity) is not None


def _digest(session_id: str, task_id: str) -> str:
    return hashlib.sha256(f"{session_id}\0{task_id}".encode()).hexdigest()[:SHORT]
