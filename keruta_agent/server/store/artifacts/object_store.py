"""Artifacts as objects of a store that all servers of one database share.

An upload is received in the data directory, and sent on when it is whole and its hash was compared:
so a broken one never reaches the store, a slow client holds no connection to it, and what fails
there can be repeated. An object appears in the store whole or not at all, before its row is
committed; where that fails, it is removed.

No thread that other requests need waits for the store: content is sent and fetched on the event
loop, and removed in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

from keruta_agent.http.problems import missing
from keruta_agent.http.uploads import Destination, IncomingFile
from keruta_agent.server.store.artifacts.objects import Objects
from keruta_agent.server.store.artifacts.store import ArtifactStoreError, Row
from keruta_agent.server.store.artifacts.sweeper import FOLDER, Sweeper

#: Uploads that are sent at once, each with two parts of 8 MiB in memory; and seconds that others
#: wait for their turn.
_UPLOADS_AT_ONCE: Final = 4
_TURN_S: Final = 60


class ObjectStore:
    """The content of artifacts in a store of objects."""

    def __init__(self, objects: Objects, sweeper: Sweeper, *, incoming: Path) -> None:
        """Take the store, what removes from it, and the directory that uploads are received in."""
        self._objects = objects
        self._sweeper = sweeper
        self._incoming = incoming
        self._turns = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    def destination(self, limit: int | None = None) -> Destination:
        """Return where an upload is received, and how it comes into the store."""
        return Destination(directory=self._incoming, limit=limit, delivered=self._delivered)

    @contextlib.asynccontextmanager
    async def _delivered(self, file: IncomingFile) -> AsyncIterator[None]:
        try:
            await self._put(file)
            yield
        finally:
            # Also after a failure: what was not confirmed may have been stored.
            if not file.is_kept:
                self.remove([file.id])

    async def _put(self, file: IncomingFile) -> None:
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise ArtifactStoreError("the artifact store is too slow for all uploads") from None
        try:
            await self._objects.put(_name(file.id), file.path, file.size)
            file.is_delivered = True
        finally:
            self._turns.release()

    def keep(self, file: IncomingFile) -> None:
        """Keep what is in the store already.

        Raises:
            ArtifactStoreError: it is not: the upload was taken for one that had been answered.
        """
        if not file.is_delivered:
            raise ArtifactStoreError("the answer to a repeated upload was forgotten meanwhile")
        file.is_kept = True

    def content(self, row: Row) -> ObjectContent:
        """Return the content of an artifact, which is fetched when it is sent."""
        return ObjectContent(self._objects, row)

    def beginning(self, row: Row, length: int) -> bytes:
        """Return an artifact's first bytes."""
        # S3 refuses a range of what is empty.
        return self._objects.beginning(_name(row["id"]), length) if row["size"] else b""

    def remove(self, artifact_ids: Iterable[str]) -> None:
        """Have artifacts removed soon, by the sweeper's thread."""
        self._sweeper.remove(artifact_ids)

    def check(self) -> None:
        """Return if the store can be used now; it takes a few seconds at most.

        Raises:
            ArtifactStoreError: it cannot.
        """
        self._sweeper.owner(hasty=True)

    def close(self) -> None:
        """Finish what is being removed, and end."""
        self._sweeper.close()


class ObjectContent:
    """The content of one artifact in the store."""

    def __init__(self, objects: Objects, row: Row) -> None:
        self._objects = objects
        self._id: str = row["id"]
        self.size: int = row["size"]
        self.modified_at: float = row["created_at"] / 1e6

    async def read(self, start: int, length: int) -> bytes:
        """Return some bytes; of no length, only look whether they are there.

        Raises:
            Problem: the content is gone (404).
            ArtifactStoreError: the store does not give it.
        """
        try:
            return await self._objects.read(_name(self._id), start, length)
        except FileNotFoundError:
            raise missing("artifact", self._id) from None


def _name(artifact_id: str) -> str:
    return f"{FOLDER}/{artifact_id}"
