"""Makes a data directory from a backup: checked in full before it takes effect."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from keruta_agent.core import errors, file_trees
from keruta_agent.server.backup import archive, contents, snapshot
from keruta_agent.server.backup.archive import ARTIFACTS, DATABASE, PARTS, Report
from keruta_agent.server.backup.contents import Contents
from keruta_agent.server.store import restored
from keruta_agent.server.store.data_directory import LOCK_NAME, locked, make_private


def restore(source: Path, data_dir: Path, *, replace: bool, report: Report) -> Contents:
    """Restore a backup into a data directory, all of it or nothing.

    Args:
        source: the backup.
        data_dir: where a server finds it.
        replace: whether what is there is moved to ``replaced`` in it; else it is refused.
        report: is told how far it is.

    Raises:
        AgentStateError: the backup cannot be used, or the directory is in use or has data.
    """
    try:
        with source.open("rb") as file, _ours(data_dir) as directory:
            _check_room(directory, replace)
            made = _stage(file, source, directory / restored.STAGING, report)
            restored.commit(directory)
    except (OSError, sqlite3.Error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise errors.AgentStateError(
            f"cannot restore {source} to {data_dir}: {reason}",
            advice="What was there is as it was, unless the server says otherwise when it starts."
            " Check that the backup can be read and that there is room for it",
        ) from exc
    return made


@contextlib.contextmanager
def _ours(data_dir: Path) -> Iterator[Path]:
    """Keep every server out of a directory for the length of the block."""
    make_private(data_dir)
    restored.settle(data_dir)
    with contextlib.ExitStack() as held:
        for part in PARTS:
            if (data_dir / part / LOCK_NAME).exists() or not part:
                held.callback(locked(data_dir / part).release)
        try:
            yield data_dir
        finally:
            file_trees.remove(data_dir / restored.STAGING)


def _check_room(directory: Path, replace: bool) -> None:
    present = restored.present(directory)
    if not present:
        return
    if not replace:
        raise errors.AgentStateError(
            f"{directory} has data already ({', '.join(present[:3])})",
            advice="Name another directory with --data, or give --replace: what is there is kept"
            f" in its subdirectory {restored.REPLACED!r}",
        )
    if (directory / restored.REPLACED).exists():
        raise errors.AgentStateError(
            f"{directory / restored.REPLACED} holds what an earlier restore replaced",
            advice="Move it away, or remove it if nothing of it is needed",
        )


def _stage(file: IO[bytes], source: Path, staging: Path, report: Report) -> Contents:
    for part in PARTS:
        (staging / part / ARTIFACTS).mkdir(mode=0o700, parents=True)
        (staging / part).chmod(0o700)

    @contextlib.contextmanager
    def take(name: str) -> Iterator[IO[bytes]]:
        # A name that comes twice is refused: it must not be there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(staging / name, flags, 0o600)
        except FileExistsError:
            raise ValueError(f"{name} is in it twice") from None
        with os.fdopen(descriptor, "wb") as target:
            yield target

    texts = archive.read(
        file,
        source,
        take,
        check_header=lambda text: contents.check_header(text, source),
        report=report,
    )
    try:
        found = Contents.read(texts.contents)
        _check(staging, found, source)
    except ValueError as exc:
        raise archive.not_whole(source, str(exc)) from exc
    if not (staging / PARTS[1] / DATABASE).exists():
        file_trees.remove(staging / PARTS[1])
    return found


def _check(staging: Path, said: Contents, source: Path) -> None:
    """Compare what was unpacked with what the backup says of itself.

    Raises:
        AgentStateError: a database is damaged, or newer than this program.
        ValueError: something is missing, or more than it says.
    """
    unpacked = [part + DATABASE for part in PARTS if (staging / part / DATABASE).exists()]
    if not unpacked or sorted(unpacked) != sorted(said.databases):
        raise ValueError("its databases are not those that it names")
    missing = 0
    for part in PARTS:
        name = part + DATABASE
        if name not in unpacked:
            continue
        database = staging / name
        snapshot.check(database, source / name)
        contents.refuse_newer_schema(snapshot.steps(database), source)
        if snapshot.counts(database) != said.databases[name]:
            raise ValueError(f"{name} has not the rows that it names")
        missing += sum(
            not (staging / part / ARTIFACTS / row.id).exists()
            for row in snapshot.artifacts(database)
        )
    if said.with_artifacts and missing > said.damaged:
        raise ValueError(f"{missing} artifacts are missing")
