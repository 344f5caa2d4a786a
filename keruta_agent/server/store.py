"""What the server keeps: the database, the artifacts' directory, and one write at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from keruta_agent import errors
from keruta_agent.server.changes import Announcement, Changes
from keruta_agent.server.database import Database, open_database
from keruta_agent.server.tables import Tables


class Change:
    """One write in progress: a transaction, and what is to be told when it is through."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tables = store.tables
        self.announcements: list[Announcement] = []
        self._afterwards: list[Callable[[], None]] = []

    def locked(self, query: Any) -> Any:
        """Makes a query lock the rows it reads until the transaction ends."""
        return self.store.database.for_writing(query)

    def announce(self, name: str, session_id: str, data: Mapping[str, Any]) -> None:
        """Tells listeners of the session, once the write is through."""
        self.announcements.append((name, session_id, data))

    def afterwards(self, work: Callable[[], None]) -> None:
        """Does something once the write is through, and not at all when it is not."""
        self._afterwards.append(work)

    def finish(self) -> None:
        """Does what was to be done afterwards."""
        for work in self._afterwards:
            work()
        if self.announcements:
            self.store.changes.wake()


class Store:
    """Everything that the server keeps, in one directory (and a database elsewhere, if asked)."""

    def __init__(self, data_dir: Path, database: Database, lock: filelock.BaseFileLock) -> None:
        self.data_dir = data_dir
        # Held for as long as the object lives: a lock that is collected lets go.
        self._lock = lock
        self.database = database
        self.tables = Tables(database.peewee)
        self.changes = Changes(database, self.tables)
        #: Answers to secret questions, by the number of the task: (question, text). Only here.
        self.secret_answers: dict[int, tuple[int, str]] = {}
        #: Finished artifacts, named by their ids.
        self.artifacts_dir = data_dir / "artifacts"
        #: Uploads that are under way.
        self.incoming_dir = data_dir / "incoming"

    @classmethod
    def open(cls, data_dir: Path, database_url: str | None = None) -> Store:
        """Opens the store, creating what is missing.

        Raises:
            AgentStateError: the directory or the database cannot be used.
            SettingsError: the database URL makes no sense.
        """
        make_private(data_dir)
        lock = locked(data_dir)
        try:
            store = cls(data_dir, open_database(data_dir, database_url), lock)
        except BaseException:
            lock.release()
            raise
        try:
            make_private(store.artifacts_dir)
            make_private(store.incoming_dir)
            store._sweep_files()
            store.changes.start()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Ends the streams and closes the database."""
        self.changes.close()
        self.database.close()
        self._lock.release()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Change]:
        """Makes the block one write: all of it is stored, events included, or nothing."""
        change = Change(self)
        with self.database.connected():
            with self.database.transaction():
                yield change
                self.changes.store(change.announcements)
            change.finish()

    def _sweep_files(self) -> None:
        """Removes the files that a killed server left without a row."""
        for leftover in self.incoming_dir.iterdir():
            leftover.unlink()
        artifacts = self.tables.artifacts
        with self.database.connected():
            known = {row["id"] for row in artifacts.select(artifacts.id).dicts()}
        for file in self.artifacts_dir.iterdir():
            if file.name not in known:
                file.unlink()


def make_private(directory: Path) -> None:
    """Makes a directory that only this user sees.

    Raises:
        AgentStateError: it cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as exc:
        raise _unusable(directory, exc.strerror or str(exc)) from exc


def locked(directory: Path) -> filelock.BaseFileLock:
    """Keeps a second server out: it would take the uploads of the first for leftovers.

    Raises:
        AgentStateError: there is one, or the directory cannot be used.
    """
    lock = filelock.FileLock(directory / "server.lock", mode=0o600)
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
