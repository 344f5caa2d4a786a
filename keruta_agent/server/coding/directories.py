"""A directory for each attempt, on the worker's machine, which goes with the attempt.

Its worker holds a lock on it. One whose lock is free has lost its worker, and so has the runner in
it, which ends: the next worker that looks removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
from pathlib import Path
from typing import Final

from keruta_agent.core import file_trees

logger = logging.getLogger(__name__)

_PREFIX: Final = "keruta-pool-"
#: Tries to make one that no other worker takes for left between its making and its locking.
_MOST_TRIES: Final = 10


class AttemptDirectory:
    """A directory of an attempt that this process holds."""

    def __init__(self) -> None:
        for _ in range(_MOST_TRIES):
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            with contextlib.suppress(FileNotFoundError):
                lock = _locked(self.path)
                if lock is not None:
                    self._lock = lock
                    self.work = self._made("work")
                    self.temporary = self._made("tmp")
                    return
        raise OSError(f"cannot keep a directory in {tempfile.gettempdir()}")

    def _made(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(mode=0o700)
        return path

    def remove(self) -> None:
        """Remove it, with all that is in it; what cannot be removed is left to the next look."""
        try:
            file_trees.remove(self.path)
        except OSError as exc:
            logger.warning(
                "cannot remove %s: %s", self.path, exc, extra={"action": "coding_directory_left"}
            )
        finally:
            os.close(self._lock)


def remove_left() -> None:
    """Remove the directories of this machine whose workers have gone."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
            if path.stat(follow_symlinks=False).st_uid != os.geteuid():
                continue
            lock = _locked(path)
            if lock is not None:
                try:
                    file_trees.remove(path)
                finally:
                    os.close(lock)


def _locked(path: Path) -> int | None:
    """Lock a directory and return the descriptor that holds the lock, None where another does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
