"""Removes objects from the artifact store: those of deleted rows soon, those without a row later.

An object may be without a row because another server is about to commit it: so only old ones are
orphans. And the store may be that of another database, whose rows this server does not see: an
object in the store names the database that it belongs to, and the servers of others remove nothing
but what their own rows named.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import peewee

from keruta_agent.server.store.artifacts.objects import Object, Objects
from keruta_agent.server.store.artifacts.store import ArtifactStoreError
from keruta_agent.server.store.database import Database

logger = logging.getLogger(__name__)

#: Where the artifacts are, and the object that names the database which they belong to.
FOLDER: Final = "artifacts"
OWNER: Final = "artifacts.database"

#: How long an object is without a row before it is an orphan. S3 dates what is sent in parts by its
#: first part, and clocks differ: a day is longer than any upload takes.
GRACE: Final = timedelta(days=1)
#: Seconds between looks for orphans; the first is at the start.
_INTERVAL_S: Final = 6 * 3600.0
#: Objects that are listed, and removed, at a time.
_BATCH: Final = 500
#: Seconds that a server's stop waits for the store.
_CLOSE_S: Final = 5.0
#: Removals that wait; what is more is an orphan.
_MOST_WAITING: Final = 100_000


class Sweeper:
    """A thread that removes objects."""

    def __init__(
        self,
        objects: Objects,
        database: Database,
        *tables: Any,
        identity: str,
        grace: timedelta = GRACE,
    ) -> None:
        """Take the store, the tables that know the artifacts, and what their database is known by.

        ``grace`` is how old an object without a row is before it is removed.
        """
        self._objects = objects
        self._database = database
        self._tables = tables
        #: What the database is known by.
        self._identity = identity
        self._grace = grace
        self._removals: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._closing = False
        self._is_foreign = False
        self._thread = threading.Thread(target=self._run, name="artifact-sweeper", daemon=True)

    def start(self) -> None:
        """Begin to remove."""
        self._thread.start()

    def close(self) -> None:
        """Finish the batch at hand, and end; what takes long is left to the next sweep."""
        self._closing = True
        with contextlib.suppress(queue.Full):  # then the thread is awake
            self._removals.put_nowait(None)
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S)

    def remove(self, artifact_ids: Iterable[str]) -> None:
        """Have objects removed whose rows are gone."""
        for artifact_id in artifact_ids:
            try:
                self._removals.put_nowait(artifact_id)
            except queue.Full:
                return

    def owner(self, *, hasty: bool = False) -> str:
        """Return what the database is known by that the store belongs to: this one, if to none yet.

        Raises:
            ArtifactStoreError: the store cannot be used; ``hasty`` says so soon.
        """
        return self._objects.noted(OWNER, self._identity, hasty=hasty)

    def sweep(self) -> None:
        """Remove the orphans.

        Raises:
            ArtifactStoreError: the store cannot be used.
        """
        if self.owner() != self._identity:
            if not self._is_foreign:
                logger.warning(
                    "%s holds the artifacts of another database; none of them is in %s, and none"
                    " is removed",
                    self._objects.url,
                    self._database.name,
                    extra={"action": "server_artifacts_kept"},
                )
            self._is_foreign = True
            return
        removed = 0
        for batch in self._objects.batches(FOLDER, _BATCH):
            removed += self._sweep(batch)
            if self._closing:
                break
        if removed:
            logger.info(
                "removed %d objects without an artifact from %s",
                removed,
                self._objects.url,
                extra={"action": "server_artifacts_swept"},
            )

    def _sweep(self, batch: Sequence[Object]) -> int:
        before = datetime.now(UTC) - self._grace
        old = [each.name for each in batch if each.modified_at < before]
        orphans = sorted(set(old) - self._known(old))
        if orphans:
            self._remove(orphans)
        return len(orphans)

    def _known(self, names: Sequence[str]) -> set[str]:
        if not names:
            return set()
        with self._database.connected():
            return {
                row["id"]
                for table in self._tables
                for row in table.select(table.id).where(table.id.in_(names)).dicts()
            }

    def _remove(self, artifact_ids: Sequence[str]) -> None:
        self._objects.remove([f"{FOLDER}/{artifact_id}" for artifact_id in artifact_ids])

    def _run(self) -> None:
        sweep_at = time.monotonic()
        while True:
            if not self._closing and time.monotonic() >= sweep_at:
                self._guarded(self.sweep)
                sweep_at = time.monotonic() + _INTERVAL_S
            batch = self._next(sweep_at - time.monotonic())
            if (
                batch
                and not self._guarded(functools.partial(self._remove, batch))
                and self._closing
            ):
                return
            if self._closing and self._removals.empty():
                return

    def _next(self, wait_s: float) -> list[str]:
        """Return what is to be removed next, once there is something."""
        batch: list[str] = []
        try:
            found = self._removals.get(timeout=max(0.0, wait_s))
            while found is not None:
                batch.append(found)
                if len(batch) == _BATCH:
                    break
                found = self._removals.get_nowait()
        except queue.Empty:
            pass
        return batch

    def _guarded(self, work: Callable[[], object]) -> bool:
        """Do something about the store; what fails is left to the next sweep."""
        try:
            work()
        except (ArtifactStoreError, peewee.PeeweeException) as exc:
            logger.error(
                "artifacts could not be removed: %s",
                " ".join(str(exc).split()),
                extra={"action": "server_storage_failed"},
            )
            return False
        return True
