"""Makes a backup of a data directory whose server may be running."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import filelock

from keruta_agent.core import errors, file_trees
from keruta_agent.server.backup import archive, contents, snapshot
from keruta_agent.server.backup.archive import ARTIFACTS, DATABASE, PARTS, Report, Writer
from keruta_agent.server.backup.contents import Contents
from keruta_agent.server.backup.snapshot import ArtifactRow
from keruta_agent.server.store.schema import earlier_services

#: Added to the name of a backup for what is not finished.
UNFINISHED: Final = ".part"


def create(data_dir: Path, target: Path, *, with_artifacts: bool, report: Report) -> Contents:
    """Back up a data directory into one file, which is there as a whole or not at all.

    The databases are copied first, then the files of the artifacts that the copies know: what is
    stored meanwhile is in neither. What is deleted meanwhile is removed from the copies as well.

    Raises:
        AgentStateError: there is no database, it is damaged, or the file cannot be written.
    """
    parts = _parts(data_dir)
    try:
        with _unfinished(target) as work:
            made = _Backup(data_dir, parts, work, report).make(with_artifacts)
            _verify(work / "archive", target, report)
            (work / "archive").rename(target)
            _sync(target.parent)
    except (OSError, sqlite3.Error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise errors.AgentStateError(
            f"cannot back up {data_dir} to {target}: {reason}",
            advice="What was there before is as it was. Make room on that disk, or give another"
            " path; beside FILE there has to be room for the databases once more",
        ) from exc
    return made


def _parts(data_dir: Path) -> list[str]:
    """Return the parts of a data directory that have a database.

    Raises:
        AgentStateError: there is none, or a part has one of an earlier kind.
    """
    found = [part for part in PARTS if (data_dir / part / DATABASE).is_file()]
    if not found:
        raise errors.AgentStateError(
            f"there is no {DATABASE} in {data_dir}",
            advice="Name the server's data directory with --data; what is kept in PostgreSQL is"
            " backed up by pg_dump, and its artifacts by a copy of the directory",
        )
    for part in PARTS:
        earlier = data_dir / part / earlier_services.FILE_NAME
        if earlier.exists():
            raise errors.AgentStateError(
                f"{earlier} was left by an earlier version and has yet to be taken over",
                advice="Start the server once: keruta server --runner-services",
            )
    return found


@contextlib.contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """Make a directory beside the target for the length of the block.

    What a killed backup left there is removed.

    Raises:
        AgentStateError: another backup to this file is under way.
        OSError: it cannot be made.
    """
    work = target.with_name(target.name + UNFINISHED)
    work.mkdir(mode=0o700, exist_ok=True)
    lock = filelock.FileLock(work / "lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise errors.AgentStateError(
            f"another backup to {target} is under way", advice="Wait for it, or give another path"
        ) from None
    try:
        for left in work.iterdir():
            if left.name != "lock":
                file_trees.remove(left)
        yield work
    finally:
        with contextlib.suppress(OSError):
            file_trees.remove(work)
        lock.release()


class _Backup:
    """One backup that is being made."""

    def __init__(self, data_dir: Path, parts: list[str], work: Path, report: Report) -> None:
        self._data_dir = data_dir
        self._parts = parts
        self._work = work
        self._report = report
        self._contents = Contents(created_at=contents.now())

    def make(self, with_artifacts: bool) -> Contents:
        """Write the archive and return what is in it."""
        self._contents.with_artifacts = with_artifacts
        for part in self._parts:
            snapshot.take(self._live(part), self._copy(part), self._report)
        with (
            _private(self._work / "archive") as file,
            _private(self._work / "sums") as sums,
        ):
            writer = Writer(file, sums)
            schemas = {part + DATABASE: snapshot.steps(self._copy(part)) for part in self._parts}
            writer.add_text(archive.HEADER, contents.header(self._contents.created_at, schemas))
            for part in self._parts if with_artifacts else ():
                self._add_artifacts(writer, part)
            for part in self._parts:
                self._add_database(writer, part)
            writer.add_text(archive.CONTENTS, self._contents.to_text())
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
        return self._contents

    def _live(self, part: str) -> Path:
        return self._data_dir / part / DATABASE

    def _copy(self, part: str) -> Path:
        return self._work / f"{part.strip('/') or 'server'}.db"

    def _add_artifacts(self, writer: Writer, part: str) -> None:
        total = sum(row.size for row in snapshot.artifacts(self._copy(part)))
        done = 0
        gone = []
        for row in snapshot.artifacts(self._copy(part)):
            if not self._add_artifact(writer, part, row):
                gone.append(row)
            done += row.size
            self._report("of the artifacts copied", done, total)
        snapshot.forget(self._copy(part), gone)
        self._contents.deleted_meanwhile += len(gone)

    def _add_artifact(self, writer: Writer, part: str, row: ArtifactRow) -> bool:
        """Add the file of an artifact; return False if it has been deleted meanwhile."""
        name = f"{part}{ARTIFACTS}{row.id}"
        try:
            file = (self._data_dir / name).open("rb")
        except FileNotFoundError:
            if not snapshot.knows(self._live(part), row):
                return False
            self._contents.note_damaged(f"{name}: there is no such file")
            return True
        with file:
            size = os.fstat(file.fileno()).st_size
            digest = writer.add(name, file, size)
        self._contents.artifacts += 1
        self._contents.artifact_bytes += size
        if digest != row.sha256:
            self._contents.note_damaged(f"{name}: its SHA-256 is another one")
        return True

    def _add_database(self, writer: Writer, part: str) -> None:
        copy = self._copy(part)
        self._contents.databases[part + DATABASE] = snapshot.counts(copy)
        with copy.open("rb") as file:
            writer.add(part + DATABASE, file, os.fstat(file.fileno()).st_size)


def _verify(written: Path, target: Path, report: Report) -> None:
    """Read back what was written.

    Raises:
        AgentStateError: it differs from what was written.
        OSError: it cannot be read.
    """
    with written.open("rb") as file:
        # From the disk, and not from the memory that it was written from.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        archive.read(
            file,
            target,
            None,
            check_header=lambda text: contents.check_header(text, target),
            report=report,
        )


@contextlib.contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w+b") as file:
        yield file


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
