"""Where the bytes of artifacts are: in the data directory, or in a store that a URL names.

What is known of an artifact is a row of the database; a store knows its content by its id and
nothing else. Whoever asks for content asks a server, so that its tokens are the only keys to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from keruta_agent.http.responses import Content
from keruta_agent.http.uploads import Destination, IncomingFile
from keruta_agent.server.store.data_directory import DataDirectory

#: Of an artifact, with its id, size and time at least.
Row = Mapping[str, Any]


class ArtifactStoreError(OSError):
    """The store cannot be reached, or does not do what it is asked: a request may be repeated."""


class ArtifactStore(Protocol):
    """The content of artifacts."""

    def destination(self, limit: int | None = None) -> Destination:
        """Return where an upload of at most ``limit`` bytes is received."""

    def keep(self, file: IncomingFile) -> None:
        """Keep what was received: called before its row is committed, and after all checks.

        A row without content would be a lie; content without a row is swept.
        """

    def content(self, row: Row) -> Path | Content:
        """Return an artifact's content, to be sent."""

    def beginning(self, row: Row, length: int) -> bytes:
        """Return an artifact's first bytes.

        Raises:
            FileNotFoundError: its content is gone.
            ArtifactStoreError: the store does not give it.
        """

    def remove(self, artifact_ids: Iterable[str]) -> None:
        """Remove the content of artifacts whose rows are gone; what is left behind is swept."""

    def check(self) -> None:
        """Return if the store can be used now.

        Raises:
            ArtifactStoreError: it cannot.
        """

    def close(self) -> None:
        """End what runs in the background."""


class FileStore:
    """Artifacts as files of the data directory."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory

    def destination(self, limit: int | None = None) -> Destination:
        """Return where an upload is received."""
        return Destination(directory=self._directory.incoming, limit=limit)

    def keep(self, file: IncomingFile) -> None:
        """Keep what was received where a power cut cannot take it away."""
        file.keep(self._directory.artifacts)

    def content(self, row: Row) -> Path:
        """Return the file of an artifact."""
        return self._directory.artifact(row["id"])

    def beginning(self, row: Row, length: int) -> bytes:
        """Return an artifact's first bytes."""
        with self._directory.artifact(row["id"]).open("rb") as file:
            return file.read(length)

    def remove(self, artifact_ids: Iterable[str]) -> None:
        """Remove the files of artifacts."""
        self._directory.remove_artifacts(artifact_ids)

    def check(self) -> None:
        """Return if the directory is there."""
        try:
            self._directory.artifacts.stat()
        except OSError as exc:
            reason = f"the directory of artifacts cannot be used: {exc.strerror}"
            raise ArtifactStoreError(reason) from exc

    def close(self) -> None:
        """End nothing: nothing runs in the background."""
