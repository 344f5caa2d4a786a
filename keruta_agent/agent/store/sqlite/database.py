"""The database agent.db: connections, transactions, migrations.

Every thread has its own connection, which is closed when the thread ends. A transaction takes the
write lock at its beginning (``BEGIN IMMEDIATE``), because SQLite refuses at once, without waiting,
when a transaction that began by reading wants to write while another one does.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent import __version__
from keruta_agent.agent.store.sqlite.migrations import MIGRATIONS
from keruta_agent.core import errors, migrations, sqlite_pages

#: Seconds that a writer waits for another process, such as a command beside the daemon.
BUSY_TIMEOUT_S: Final = 15.0
DATABASE_NAME: Final = "agent.db"
#: What is left to do with the database of a newer version that cannot be installed.
BEGIN_ANEW: Final = "begin anew in another directory with KERUTA_BASE_DIR"
#: The flag that names the version which changed the schema last.
_WRITTEN_BY: Final = "schema_written_by"


#: Connections of the parent, in a child that was forked and has yet to become another program.
_OF_PARENT: Final[list[sqlite3.Connection]] = []


class _ThreadConnection:
    """The connection of one thread, held by the thread's locals alone: they go when it ends."""

    def __init__(self, path: Path) -> None:
        self._pid = os.getpid()
        self.sqlite = sqlite3.connect(
            path,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,  # what one thread opened another one may close
        )
        #: The connection's setting about power cuts; None: not set yet.
        self.durable: bool | None = None

    def __del__(self) -> None:
        # No lock may be taken here: this runs at any instant, in any thread.
        if not hasattr(self, "sqlite"):
            return
        if os.getpid() != self._pid:
            # A fork ends all threads but one, and their locals with them. To close a connection in
            # the child would lock the database, and wait for a mutex that a thread of the parent
            # holds: for ever, with the lock.
            _OF_PARENT.append(self.sqlite)
            return
        self.sqlite.close()


class Database:
    """agent.db in a base directory. Safe to share between threads."""

    def __init__(self, base_dir: Path, *, create: bool = True) -> None:
        """Open the database and bring its schema up to date.

        Raises:
            AgentStateError: the directory or the file cannot be used, or the file is newer than
                this program.
        """
        self.path = base_dir / DATABASE_NAME
        self._local = threading.local()
        if create:
            make_private_directory(base_dir)
        try:
            with contextlib.ExitStack() as undo:
                undo.callback(self.close)
                _create_private_file(self.path)
                self._migrate()
                undo.pop_all()
        except (OSError, sqlite3.Error) as exc:
            raise errors.AgentStateError(
                f"cannot use the agent's database {self.path}: {exc}",
                advice="Give this user write access to the directory, or choose another one with "
                "KERUTA_BASE_DIR; a damaged file must be restored or moved away",
            ) from exc

    def connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        return self._of_thread().sqlite

    def _of_thread(self) -> _ThreadConnection:
        found: _ThreadConnection | None = getattr(self._local, "connection", None)
        if found is None:
            found = _ThreadConnection(self.path)
            found.sqlite.row_factory = sqlite3.Row
            # Only a file without pages takes the mode; any other would be written to.
            if not found.sqlite.execute("PRAGMA page_count").fetchone()[0]:
                found.sqlite.execute(sqlite_pages.ASK)
            found.sqlite.execute("PRAGMA journal_mode = WAL")
            found.sqlite.execute("PRAGMA foreign_keys = ON")
            self._local.connection = found
        return found

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Run a block that is stored as a whole or not at all; blocks may be nested.

        A durable one survives a power cut: a claim that was undone would start a script for the
        second time. One that is not survives any kill, and a power cut once a durable one has
        followed it. Use that for what is found again in the run's files: the wait for the disk
        would otherwise slow down a script that writes much.
        """
        of_thread = self._of_thread()
        connection = of_thread.sqlite
        if connection.in_transaction:
            yield connection
            return
        if of_thread.durable is not durable:
            level = "FULL" if durable else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {level}")
            of_thread.durable = durable
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite itself has rolled back after some failures; after others, also of the COMMIT,
            # it has not, and all that follows would be part of this transaction.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def copy_to(self, path: Path) -> None:
        """Write all that is stored to a file, which is there as a whole or not at all.

        Raises:
            OSError: it cannot be written.
            sqlite3.Error: the same, or the database cannot be read.
        """
        temporary = path.with_name(f"{path.name}.new")
        temporary.unlink(missing_ok=True)
        _create_private_file(temporary)
        with contextlib.closing(sqlite3.connect(temporary)) as copy:
            self.connection().backup(copy)
        # Left of a removed file, these would be taken for the new one's.
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        temporary.rename(path)

    def close(self) -> None:
        """Close this thread's connection, if it has one; the next use opens another.

        Another thread's is closed when that thread ends: to close it under its hands would crash
        the process.
        """
        found: _ThreadConnection | None = getattr(self._local, "connection", None)
        if found is not None:
            self._local.connection = None
            found.sqlite.close()

    def _migrate(self) -> None:
        connection = self.connection()
        # Without the write lock first: commands open the database while the daemon writes.
        if self._version(connection) == len(MIGRATIONS):
            return
        with self.transaction():
            version = self._version(connection)
            if version > len(MIGRATIONS):
                raise migrations.newer_schema(
                    f"the database {self.path}", written_by(connection), otherwise=BEGIN_ANEW
                )
            migrations.apply(
                MIGRATIONS,
                is_applied=lambda step: step.number <= version,
                execute=connection.execute,
                note=lambda step: connection.execute(f"PRAGMA user_version = {step.number}"),
            )
            connection.execute(
                "INSERT INTO flags (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (_WRITTEN_BY, __version__),
            )

    @staticmethod
    def _version(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def written_by(connection: sqlite3.Connection) -> str | None:
    """Return the version that brought a database to its schema; None where it is not noted."""
    try:
        found = connection.execute(
            "SELECT value FROM flags WHERE name = ?", (_WRITTEN_BY,)
        ).fetchone()
    except sqlite3.Error:  # of a schema that is not known here
        return None
    return None if found is None else str(found[0])


def make_private_directory(directory: Path) -> None:
    """Create a directory that only this user can read, or check that it belongs to this user.

    Raises:
        AgentStateError: it cannot be created, or belongs to somebody else.
    """
    advice = "Choose another directory with KERUTA_BASE_DIR"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Where everybody may make names, somebody else can have been first with a link.
        found = directory.lstat()
        is_foreign = stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid())
        handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            if is_foreign or status.st_uid != os.geteuid():
                raise errors.AgentStateError(
                    f"the directory {directory} belongs to another user", advice=advice
                )
            if status.st_mode & 0o077:
                Path(f"/proc/self/fd/{handle}").chmod(0o700)
        finally:
            os.close(handle)
    except OSError as exc:
        raise errors.AgentStateError(
            f"cannot create or use the directory {directory}: {exc.strerror}", advice=advice
        ) from exc
    if not os.access(directory, os.W_OK | os.X_OK):
        raise errors.AgentStateError(f"cannot write to the directory {directory}", advice=advice)


def _create_private_file(path: Path) -> None:
    # SQLite gives its -wal and -shm files the mode of the main file. An existing file must not be
    # opened here: closing it again drops the locks that other connections of this process hold
    # (POSIX says so), and another process would then remove the -wal file under their feet.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
