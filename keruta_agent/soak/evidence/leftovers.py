"""Processes that should be gone, found by the marker in their environment or their arguments."""

from __future__ import annotations

import os
from pathlib import Path

from keruta_agent.core.process_tree.proc import process_state


def of_task(task_id: str, record: Path) -> list[int]:
    """Return the living processes of one task."""
    return _living(f"KERUTA_TASK_ID={task_id}".encode(), os.fsencode(record))


def of_directory(directory: Path) -> list[int]:
    """Return the living processes that have to do with a directory, save this very process."""
    name = os.fsencode(directory)
    return [pid for pid in _living(b"", name) if pid != os.getpid()]


def _living(variable: bytes, word: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes()
            words = (entry / "cmdline").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        marked = variable in variables.split(b"\0") if variable else word in variables
        if (marked or word in words) and _is_alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def _is_alive(pid: int) -> bool:
    state = process_state(pid)
    return state is not None and state[0] not in "ZX"
