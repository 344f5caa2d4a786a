"""A restored data directory takes the place of what was there, also when that is cut off.

A restore makes all of it in ``restore.staging`` and checks it there. Renaming that to
``restore.ready`` is the moment from which the new holds: what was there is moved to ``replaced``,
then the name becomes ``restore.placing`` and what is in it moves to its places. Whoever comes next
after a kill goes on with it, or removes what did not come so far.

Renaming whole directories would be one step, and impossible where a volume is mounted.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from keruta_agent.core import file_trees
from keruta_agent.server.store.data_directory import LOCK_NAME, locked

STAGING: Final = "restore.staging"
#: What was there before the last restore.
REPLACED: Final = "replaced"
_READY: Final = "restore.ready"
_PLACING: Final = "restore.placing"
#: What is no server's, a volume's own directory among it.
_OTHERS: Final = frozenset({LOCK_NAME, STAGING, REPLACED, _READY, _PLACING, "lost+found"})


def settle(directory: Path) -> None:
    """Finish or remove what a restore left that was cut off.

    Raises:
        AgentStateError: a server uses the directory.
        OSError: it cannot be changed.
    """
    if not any(os.path.lexists(directory / name) for name in (STAGING, _READY, _PLACING)):
        return
    lock = locked(directory)
    try:
        file_trees.remove(directory / STAGING)
        _finish(directory)
    finally:
        lock.release()


def present(directory: Path) -> list[str]:
    """Return the names of what a server has in a directory."""
    return sorted({entry.name for entry in directory.iterdir()} - _OTHERS)


def commit(directory: Path) -> None:
    """Have what was staged take the place of what is there; with the directory's lock.

    Raises:
        OSError: it cannot; the next call of ``settle`` goes on, or all is as it was.
    """
    # All of it at once: to wait for a million files one by one takes hours.
    os.sync()
    (directory / STAGING).rename(directory / _READY)
    _sync(directory)
    _finish(directory)


def _finish(directory: Path) -> None:
    ready, placing = directory / _READY, directory / _PLACING
    if ready.exists():
        old = present(directory)
        if old:
            (directory / REPLACED).mkdir(mode=0o700, exist_ok=True)
        for name in old:
            (directory / name).rename(directory / REPLACED / name)
        _sync(directory)
        ready.rename(placing)
        _sync(directory)
    if placing.exists():
        for entry in sorted(placing.iterdir()):
            entry.rename(directory / entry.name)
        _sync(directory)
        placing.rmdir()
        _sync(directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
