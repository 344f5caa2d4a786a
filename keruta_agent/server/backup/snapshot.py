"""A consistent copy of a SQLite database that a server is writing to."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from keruta_agent.core import errors
from keruta_agent.server.backup.archive import Report

#: Pages that are copied in one go, 1 MiB.
_STEP_PAGES: Final = 256
#: Problems that are named of a damaged database.
_MOST_PROBLEMS: Final = 3

#: Tables that are emptied in a copy. Slots are clones on a disk, and are made anew; people log in
#: again; a secret answer is for the script that waits for it, and for no archive.
LEFT_OUT: Final = ("pool_slots", "logins", "secret_answers", "server_keys")
#: Tables that name files in the directory of artifacts.
_OF_ARTIFACTS: Final = ("artifacts", "runner_artifacts")


class ArtifactRow(NamedTuple):
    """What a database knows of a file."""

    table: str
    id: str
    size: int
    sha256: str


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that changes nothing."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)


def take(source: Path, target: Path, report: Report) -> None:
    """Copy a database as it is at one moment, and check the copy.

    The transaction that reads is open from the first page to the last: without it, each write of
    the server would have the copy begin anew, and a busy one would never come to its end. Writers
    do not wait for it; the log of the database grows meanwhile, and shrinks afterwards.

    Raises:
        AgentStateError: the database is damaged.
        sqlite3.Error: it cannot be read, or the copy cannot be written.
    """
    with (
        contextlib.closing(open_for_reading(source)) as live,
        contextlib.closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        live.execute("BEGIN")
        live.execute("SELECT count(*) FROM sqlite_master").fetchone()
        live.backup(
            copy,
            pages=_STEP_PAGES,
            progress=lambda _status, left, total: report(
                f"of {source} copied", total - left, total
            ),
        )
        live.execute("ROLLBACK")
        # One file, without a log beside it; the server turns that on again.
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("PRAGMA secure_delete = ON")
        for table in set(LEFT_OUT) & set(tables(copy)):
            copy.execute(f"DELETE FROM {table}")  # noqa: S608
    check(target, source)


def check(path: Path, named: Path) -> None:
    """Check a database that nobody writes to.

    Raises:
        AgentStateError: it is damaged.
    """
    with contextlib.closing(open_for_reading(path)) as connection:
        try:
            problems = connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})").fetchall()
            orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as exc:
            problems, orphans = [(str(exc),)], []
    # Of a file that can shrink several problems come as the lines of one.
    lines = [line for row in problems for line in row[0].splitlines()]
    found = [line for line in lines if line != "ok" and not line.startswith("***")]
    found += [f"a row of {row[0]} belongs to none of {row[2]}" for row in orphans[:_MOST_PROBLEMS]]
    if found:
        raise errors.AgentStateError(
            f"the database {named} is damaged: {'; '.join(found)}",
            advice="Restore an earlier backup, or save what can be read: sqlite3 DATABASE .recover",
        )


def tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of a database's own tables."""
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        " ORDER BY name"
    )
    return [row[0] for row in rows]


def counts(path: Path) -> dict[str, int]:
    """Return how many rows each table has."""
    with contextlib.closing(open_for_reading(path)) as connection:
        return {
            name: connection.execute(f"SELECT count(*) FROM {_quoted(name)}").fetchone()[0]  # noqa: S608
            for name in tables(connection)
        }


def steps(path: Path) -> list[str]:
    """Return what a database notes of its schema, oldest first."""
    with contextlib.closing(open_for_reading(path)) as connection:
        rows = connection.execute("SELECT name FROM schema_migrations ORDER BY applied_at, name")
        return [row[0] for row in rows]


def artifacts(path: Path) -> Iterator[ArtifactRow]:
    """Yield the artifacts that a database knows."""
    with contextlib.closing(open_for_reading(path)) as connection:
        for table in [name for name in _OF_ARTIFACTS if name in tables(connection)]:
            for row in connection.execute(f"SELECT id, size, sha256 FROM {table}"):  # noqa: S608
                yield ArtifactRow(table, *row)


def knows(path: Path, artifact: ArtifactRow) -> bool:
    """Return whether a database knows an artifact now."""
    with contextlib.closing(open_for_reading(path)) as connection:
        found = connection.execute(
            f"SELECT 1 FROM {artifact.table} WHERE id = ?",  # noqa: S608
            (artifact.id,),
        )
        return found.fetchone() is not None


def forget(path: Path, gone: Sequence[ArtifactRow]) -> None:
    """Remove the rows of artifacts that were deleted after the copy was made."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for artifact in gone:
            connection.execute(
                f"DELETE FROM {artifact.table} WHERE id = ?",  # noqa: S608
                (artifact.id,),
            )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
