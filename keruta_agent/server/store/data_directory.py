"""The directory that a server keeps everything in: its lock, and the bytes of artifacts.

A file's name in it is the artifact's id and nothing else: no name that a client sent is ever part
of a path.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import filelock

from keruta_agent.core import atomic_file, errors
from keruta_agent.server.store.database import Database

logger = logging.getLogger(__name__)

LOCK_NAME = "server.lock"


class DataDirectory:
    """A directory that only this user sees, and one server at a time uses."""

    def __init__(self, path: Path, *, is_shared: bool = False) -> None:
        """Make what is missing of it, and keep other servers out unless it is shared with them.

        Raises:
            AgentStateError: there is another server, or the directory cannot be used.
        """
        make_private(path)
        self.path = path
        # Held for as long as the object lives: a lock that is collected lets go.
        self._lock = None if is_shared else locked(path)
        try:
            #: Finished artifacts, named by their ids.
            self.artifacts = self.subdirectory("artifacts")
            #: Uploads that are under way.
            self.incoming = self.subdirectory("incoming")
        except errors.AgentStateError:
            self.close()
            raise

    @functools.cached_property
    def identity(self) -> str:
        """The id that distinguishes this directory from others whose servers share a database.

        Raises:
            AgentStateError: it cannot be noted.
        """
        return self._noted("directory.id", str(uuid.uuid4()))

    def close(self) -> None:
        """Release the lock for another server."""
        if self._lock is not None:
            self._lock.release()

    def subdirectory(self, name: str) -> Path:
        """Make a directory in it.

        Raises:
            AgentStateError: it cannot be made.
        """
        directory = self.path / name
        make_private(directory)
        return directory

    def artifact(self, artifact_id: str) -> Path:
        """Return where an artifact's bytes are; the id has to be one from the database."""
        return self.artifacts / artifact_id

    def _noted(self, name: str, text: str) -> str:
        """Return the text of a file in it; note this one if there is none.

        Raises:
            AgentStateError: it can neither be read nor noted.
        """
        file = self.path / name
        try:
            with contextlib.suppress(FileNotFoundError):
                return file.read_text(encoding="utf-8").strip()
            atomic_file.write(file, f"{text}\n".encode(), mode=0o600)
        except (OSError, UnicodeDecodeError) as exc:
            raise _unusable(self.path, str(exc)) from exc
        return text

    def remove_artifacts(self, artifact_ids: Iterable[str]) -> None:
        """Remove the bytes of artifacts that are no longer in the database."""
        for artifact_id in artifact_ids:
            # What is left behind is swept at the next start.
            with contextlib.suppress(OSError):
                self.artifact(artifact_id).unlink()

    def sweep_uploads(self) -> None:
        """Remove the broken uploads that a killed server left."""
        for leftover in self.incoming.iterdir():
            leftover.unlink()

    def sweep(self, database: Database, *tables: Any) -> None:
        """Remove artifacts without a row, which a killed server left.

        Another database than before knows none of the artifacts, and so none is removed.

        Raises:
            AgentStateError: the directory cannot be used.
        """
        noted = self._noted("artifacts.database", database.name)
        if noted != database.name:
            logger.warning(
                "%s holds the artifacts of the database %s; none of them is in %s, and none is"
                " removed",
                self.path,
                noted,
                database.name,
                extra={"action": "server_artifacts_kept"},
            )
            return
        with database.connected():
            known = {row["id"] for table in tables for row in table.select(table.id).dicts()}
        for file in self.artifacts.iterdir():
            if file.name not in known:
                file.unlink()


def make_private(directory: Path) -> None:
    """Make a directory that only this user sees.

    Raises:
        AgentStateError: it cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as exc:
        raise _unusable(directory, exc.strerror or str(exc)) from exc


def locked(directory: Path) -> filelock.BaseFileLock:
    """Keep a second server out: it would take the uploads of the first for leftovers.

    Raises:
        AgentStateError: there is one, or the directory cannot be used.
    """
    lock = filelock.FileLock(directory / LOCK_NAME, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise errors.AgentStateError(
            f"another keruta server uses the data directory {directory}",
            advice="Stop it, or choose another directory with --data",
        ) from None
    except OSError as exc:
        raise _unusable(directory, exc.strerror or str(exc)) from exc
    return lock


def _unusable(directory: Path, reason: str) -> errors.AgentStateError:
    return errors.AgentStateError(
        f"cannot use the server's data directory {directory}: {reason}",
        advice="Choose another one with --data, or make it writable for this user",
    )
