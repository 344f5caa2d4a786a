"""What the server keeps: the database, the artifacts' directory, and one write at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keruta_agent.core import errors
from keruta_agent.server.store import audit_rows
from keruta_agent.server.store.artifacts import opening as artifact_stores
from keruta_agent.server.store.artifacts.location import ArtifactLocation
from keruta_agent.server.store.artifacts.store import ArtifactStore, FileStore
from keruta_agent.server.store.changes import Announcement, Changes
from keruta_agent.server.store.data_directory import DataDirectory
from keruta_agent.server.store.database import FILE_NAME, Database, open_database
from keruta_agent.server.store.schema import earlier_services
from keruta_agent.server.store.secret_answers import MemoryAnswers, SecretAnswers
from keruta_agent.server.store.tables import Tables


class Change:
    """One write in progress: a transaction, and what is announced when it is through."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tables = store.tables
        self.announcements: list[Announcement] = []
        self._afterwards: list[Callable[[], None]] = []

    def locked(self, query: Any) -> Any:
        """Make a query lock the rows it reads until the transaction ends."""
        return self.store.database.for_writing(query)

    def announce(self, name: str, session_id: str, data: Mapping[str, Any]) -> None:
        """Notify the session's listeners after the commit."""
        self.announcements.append((name, session_id, data))

    def afterwards(self, work: Callable[[], None]) -> None:
        """Do something once the write is through, and not at all when it is not."""
        self._afterwards.append(work)

    def finish(self) -> None:
        """Do what was to be done afterwards."""
        for work in self._afterwards:
            work()
        if self.announcements:
            self.store.changes.wake()


class Store:
    """Everything that the server keeps: in one directory, or elsewhere as far as it is asked to."""

    def __init__(
        self,
        directory: DataDirectory,
        database: Database,
        artifacts: ArtifactStore | None = None,
    ) -> None:
        self.directory = directory
        self.database = database
        self.artifacts = artifacts or FileStore(directory)
        self.tables = Tables(database)
        self.changes = Changes(database, self.tables)
        self.secret_answers: SecretAnswers = MemoryAnswers()

    @classmethod
    def open(
        cls,
        data_dir: Path,
        database_url: str | None = None,
        artifacts: ArtifactLocation | None = None,
    ) -> Store:
        """Open the store, creating what is missing.

        Raises:
            AgentStateError: the directory, the database or the artifact store cannot be used.
            SettingsError: the database URL or a setting of the artifact store is invalid.
        """
        with contextlib.ExitStack() as opened:
            directory = opened.enter_context(contextlib.closing(DataDirectory(data_dir)))
            database = open_database(data_dir, database_url)
            opened.enter_context(contextlib.closing(database))
            tables = Tables(database)
            earlier_services.take_over(directory, database, tables)
            kept = artifact_stores.open_store(artifacts, directory, database, tables)
            opened.enter_context(contextlib.closing(kept))
            store = cls(directory, database, kept)
            store.changes.start()
            opened.pop_all()
        return store

    @classmethod
    def open_beside(
        cls, data_dir: Path, database_url: str | None = None, *, is_alone: bool = False
    ) -> Store:
        """Open a store that is there, for a command; a server may use it meanwhile.

        Args:
            data_dir: the server's.
            database_url: the server's, where the database is not in the directory.
            is_alone: keep servers out.

        Raises:
            AgentStateError: there is none, it cannot be used, or a server is to be kept out and
                runs.
            SettingsError: the database URL is invalid.
        """
        if database_url is None and not (data_dir / FILE_NAME).exists():
            raise errors.AgentStateError(
                f"there is no database of a server in {data_dir}",
                advice="Name the server's directory with --data, or its --database-url",
            )
        with contextlib.ExitStack() as opened:
            directory = opened.enter_context(
                contextlib.closing(DataDirectory(data_dir, is_shared=not is_alone))
            )
            database = open_database(data_dir, database_url)
            opened.enter_context(contextlib.closing(database))
            store = cls(directory, database)
            opened.pop_all()
        return store

    def close(self) -> None:
        """End the streams and close the database."""
        self.changes.close()
        self.artifacts.close()
        self.database.close()
        self.directory.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Change]:
        """Make the block one write: all of it is stored, events included, or nothing."""
        change = Change(self)
        with self.database.connected():
            with self.database.transaction():
                yield change
                audit_rows.store_expected(self.database)
                self.changes.store(change.announcements)
            change.finish()
