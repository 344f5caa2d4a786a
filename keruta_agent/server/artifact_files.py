"""Artifacts on disk: received in pieces, hashed on the way, put in place when complete.

A file's name on disk is the artifact's id and nothing else: no name that a client sent is ever
part of a path.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

from keruta_agent.server.store import Change, Store


class IncomingFile:
    """A file being received. It takes the place of a form parser's temporary file."""

    def __init__(self, directory: Path) -> None:
        self.id = str(uuid.uuid4())
        self.size = 0
        self._hash = hashlib.sha256()
        self._path = directory / self.id
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, piece: bytes) -> int:
        """Appends a piece."""
        self._hash.update(piece)
        self.size += len(piece)
        return self._file.write(piece)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Does nothing: the parser rewinds what it has written, and nobody reads it here."""
        return offset

    @property
    def sha256(self) -> str:
        """Hash of everything received so far, in hex."""
        return self._hash.hexdigest()

    def keep(self, directory: Path) -> None:
        """Puts the complete file in its place, where a power cut cannot take it away."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.rename(directory / self.id)
        _sync_directory(directory)

    def close(self) -> None:
        """Closes the file and removes it unless it was kept."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def path_of(store: Store, artifact_id: str) -> Path:
    """Returns where an artifact's bytes are; the id has to be one from the table."""
    return store.artifacts_dir / artifact_id


def remove_with(change: Change, tasks: Any) -> None:
    """Removes the files of the artifacts of some tasks, once the change is through."""
    artifacts = change.tables.artifacts
    rows = artifacts.select(artifacts.id).where(artifacts.task.in_(tasks)).dicts()
    remove(change, [row["id"] for row in rows])


def remove(change: Change, artifact_ids: list[str]) -> None:
    """Removes the files of artifacts, once the change is through."""
    paths = [path_of(change.store, artifact_id) for artifact_id in artifact_ids]
    change.afterwards(lambda: _unlink(paths))


def _unlink(paths: list[Path]) -> None:
    for path in paths:
        # What is left behind is swept at the next start.
        with contextlib.suppress(OSError):
            path.unlink()
