"""What the runner's services keep: one database, the artifacts, and the pool's clones."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import peewee

from keruta_agent.server.runner_services.migrations import MIGRATIONS
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.data_directory import DataDirectory
from keruta_agent.server.store.database import Database, open_database

logger = logging.getLogger(__name__)

FILE_NAME: Final = "runner-services.db"

#: Seconds between looks for what has become too old.
_TIDY_INTERVAL_S: Final = 600.0
_DAY_US: Final = 24 * 3600 * 1_000_000
#: How long a repeated write is answered as the first time.
_ANSWERS_KEPT_US: Final = 2 * _DAY_US

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "registry_tasks": (
        *("number", "spec_name", "id", "status", "metadata", "created_at", "updated_at"),
    ),
    "registry_statuses": ("number", "task", "status", "metadata", "said_at", "at"),
    "registry_events": ("number", "task", "event_type", "data", "said_at", "at"),
    "registry_artifacts": (
        *("number", "task", "type", "uri", "size_bytes", "metadata", "said_at", "at"),
    ),
    "slots": (
        *("number", "id", "repository", "address", "state", "holder", "lease_token"),
        *("released_token", "key", "lease_s", "changed_at"),
    ),
    "artifacts": (
        *("number", "id", "type", "metadata", "spec_name", "task_id", "size", "sha256"),
        "created_at",
    ),
    "answers": ("scope", "key", "status", "body", "created_at"),
}


class Tables:
    """The tables, ready to be queried."""

    def __init__(self, database: Any) -> None:
        self.tasks = self._of(database, "registry_tasks")
        self.statuses = self._of(database, "registry_statuses")
        self.events = self._of(database, "registry_events")
        self.task_artifacts = self._of(database, "registry_artifacts")
        self.slots = self._of(database, "slots")
        self.artifacts = self._of(database, "artifacts")
        self.answers = self._of(database, "answers")

    @staticmethod
    def _of(database: Any, name: str) -> Any:
        return t.table(database, name, _COLUMNS[name])


class Change:
    """One write in progress."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.tables = store.tables
        self._afterwards: list[Callable[[], None]] = []

    def afterwards(self, work: Callable[[], None]) -> None:
        """Do something once the write is through, and not at all when it is not."""
        self._afterwards.append(work)

    def finish(self) -> None:
        """Do what was to be done afterwards."""
        for work in self._afterwards:
            work()


class Store:
    """Everything that the services keep, in one directory."""

    def __init__(
        self, directory: DataDirectory, database: Database, retention_days: Mapping[str, float]
    ) -> None:
        self.directory = directory
        self.database = database
        self.tables = Tables(database.peewee)
        #: The clones that are lent, and what they are made from.
        self.pool_dir = directory.subdirectory("pool")
        #: How long artifacts of each type are kept; others are kept for ever.
        self.retention_days = dict(retention_days)
        self._closing = threading.Event()
        self._tidying = threading.Thread(target=self._tidy, name="runner-services", daemon=True)

    @classmethod
    def open(cls, data_dir: Path, retention_days: Mapping[str, float]) -> Store:
        """Open the store, creating what is missing.

        Raises:
            AgentStateError: the directory or the database cannot be used.
        """
        with contextlib.ExitStack() as opened:
            directory = opened.enter_context(contextlib.closing(DataDirectory(data_dir)))
            database = open_database(data_dir, None, file_name=FILE_NAME, steps=MIGRATIONS)
            opened.enter_context(contextlib.closing(database))
            store = cls(directory, database, retention_days)
            directory.sweep(database, store.tables.artifacts)
            store._tidying.start()
            opened.pop_all()
        return store

    def close(self) -> None:
        """Close the database."""
        self._closing.set()
        self._tidying.join()
        self.database.close()
        self.directory.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Change]:
        """Make the block one write: all of it is stored, or nothing."""
        change = Change(self)
        with self.database.connected():
            with self.database.transaction():
                yield change
            change.finish()

    def forget_old(self) -> list[str]:
        """Remove artifacts that were kept long enough, and return their ids."""
        artifacts, answers = self.tables.artifacts, self.tables.answers
        with self.writing() as change:
            answers.delete().where(answers.created_at < t.now() - _ANSWERS_KEPT_US).execute()
            old: list[str] = []
            for kind, days in self.retention_days.items():
                is_old = artifacts.created_at < t.now() - int(days * _DAY_US)
                found = artifacts.select(artifacts.id).where((artifacts.type == kind) & is_old)
                old += [row["id"] for row in found.dicts()]
            for artifact_id in old:
                artifacts.delete().where(artifacts.id == artifact_id).execute()
            change.afterwards(lambda: self.directory.remove_artifacts(old))
        return old

    def _tidy(self) -> None:
        while True:
            try:
                self.forget_old()
            except (peewee.PeeweeException, OSError):
                logger.exception(
                    "old artifacts could not be removed", extra={"action": "server_storage_failed"}
                )
            if self._closing.wait(_TIDY_INTERVAL_S):
                return
