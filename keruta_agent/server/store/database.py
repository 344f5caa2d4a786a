"""The server's database: SQLite by default, or what a URL names.

Connections come from a pool. On SQLite the threads that answer requests keep theirs. Others take
one for a block at a time, and so do all on PostgreSQL, which has few.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import peewee
from playhouse.pool import PooledSqliteDatabase

from keruta_agent.core import errors, sqlite_pages
from keruta_agent.server.store import postgresql, statements
from keruta_agent.server.store.clock import READ, DatabaseClock
from keruta_agent.server.store.schema import migrations
from keruta_agent.server.store.statements import Row, Select, Statement
from keruta_agent.server.store.tables import now

#: Seconds that a write waits for another one on SQLite.
BUSY_TIMEOUT_S = 10

#: On SQLite: more than the server has threads, so that no request ever finds the pool empty.
MAX_CONNECTIONS = 120

FILE_NAME = "server.db"


class Database:
    """One open database, migrated to what this version needs."""

    def __init__(self, peewee_database: Any, *, name: str, postgresql: bool) -> None:
        #: The file in the data directory, or the URL without user and password.
        self.name = name
        self.peewee = peewee_database
        self.postgresql = postgresql
        self._thread = _ThreadConnection(peewee_database)
        self._clock = DatabaseClock(lambda: int(self.run(READ).fetchone()[0]))

    def keep_connection(self) -> None:
        """Have this thread keep its connection on SQLite: to take one costs as much as a query.

        Only for threads that last. The connection is closed with the database.
        """
        self._thread.keeps = not self.postgresql

    def connected(self) -> AbstractContextManager[Any]:
        """Take a connection for this thread for the length of the block."""
        return self._thread

    def transaction(self) -> AbstractContextManager[Any]:
        """Make the block one transaction; on SQLite it has the write lock from the start."""
        context: AbstractContextManager[Any] = self.peewee.atomic()
        return context

    def now(self) -> int:
        """Return the present for leases and ages, as it is stored; it may ask the database."""
        return self._clock.now() if self.postgresql else now()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Take a connection, and make the block one transaction."""
        with self.connected(), self.transaction():
            yield

    def for_writing(self, query: Any) -> Any:
        """Make a query lock the rows it reads until the transaction ends.

        Nothing is to be done on SQLite, where a transaction excludes every other writer.
        """
        return query.for_update() if self.postgresql else query

    def run(self, statement: Statement, *values: Any) -> Any:
        """Execute a statement with its values and return the cursor."""
        text = statement.postgresql if self.postgresql else statement.sqlite
        return self.peewee.execute_sql(text, values)

    def one(self, select: Select, *values: Any) -> Row | None:
        """Return the first row of a query; None where there is none."""
        found = self.run(select, *values).fetchone()
        return None if found is None else select.row(found)

    def all(self, select: Select, *values: Any) -> list[Row]:
        """Return the rows of a query."""
        return [select.row(found) for found in self.run(select, *values)]

    def insert(self, table: str, row: Mapping[str, Any]) -> int:
        """Insert a row and return its number."""
        cursor = self.run(statements.insert(table, tuple(row)), *row.values())
        number: int = cursor.fetchone()[0] if self.postgresql else cursor.lastrowid
        return number

    def update(self, table: str, values: Mapping[str, Any], **key: Any) -> None:
        """Change columns of the row that a key names, such as ``number=1``."""
        [(name, named)] = key.items()
        self.run(statements.update(table, tuple(values), name), *values.values(), named)

    def close(self) -> None:
        """Close every connection."""
        self.peewee.close_all()


class _ThreadConnection(threading.local, AbstractContextManager[None]):
    """The connection of a thread, for the outermost block that needs it.

    A thread that keeps it gives it back all the same when something has failed on it.
    """

    def __init__(self, peewee_database: Any) -> None:
        self.keeps = False
        self._peewee = peewee_database
        self._blocks = 0

    def __enter__(self) -> None:
        if self._peewee.is_closed():
            self._peewee.connect()
        self._blocks += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._blocks -= 1
        if self._blocks == 0 and (kind is not None or not self.keeps):
            self._peewee.close()


def open_database(data_dir: Path, url: str | None) -> Database:
    """Open and migrate the database: the file in ``data_dir``, or the one at ``url``.

    One at a URL may be starting up itself, and is waited for.

    Raises:
        AgentStateError: it cannot be opened, or is none.
    """
    where = _without_password(url) if url else str(data_dir / FILE_NAME)
    try:
        database = _at_url(url) if url else _in_directory(data_dir / FILE_NAME)

        def migrate() -> None:
            with database.connected():
                migrations.migrate(database.peewee, name=where, postgresql=database.postgresql)

        try:
            if database.postgresql:
                postgresql.when_up(database.peewee, where, migrate)
            else:
                migrate()
        except BaseException:
            database.close()
            raise
    except peewee.ImproperlyConfigured:
        raise errors.SettingsError(
            "the driver for PostgreSQL is not installed",
            advice="Install it with: pip install 'keruta-agent[postgresql]'",
        ) from None
    except (OSError, peewee.DatabaseError, peewee.InterfaceError, sqlite3.Error) as exc:
        # The driver's text may repeat the connection string, password and all.
        reason = type(exc).__name__ if url else str(exc)
        raise errors.AgentStateError(
            f"cannot open the server's database {where}: {reason}",
            advice="Check that it exists, is not damaged, and that this user may write to it",
        ) from None
    return database


def _in_directory(path: Path) -> Database:
    # Made here, because SQLite would follow the umask; the WAL takes over these permissions.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    if not path.stat().st_size:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as new:
            # Only a file without pages takes the mode; any other would be written to.
            new.execute(sqlite_pages.ASK)
            new.execute("PRAGMA journal_mode = WAL")
    return Database(
        PooledSqliteDatabase(
            str(path),
            max_connections=MAX_CONNECTIONS,
            # A transaction that reads and then writes would fail at once under concurrency.
            lock_type="IMMEDIATE",
            # The pool hands a connection to one thread at a time, but not always the same one.
            check_same_thread=False,
            autoconnect=False,
            pragmas={
                "journal_mode": "wal",
                # What was acknowledged has to survive a power cut.
                "synchronous": "full",
                "foreign_keys": 1,
                "busy_timeout": BUSY_TIMEOUT_S * 1000,
            },
        ),
        name=path.name,
        postgresql=False,
    )


def _at_url(url: str) -> Database:
    pool = postgresql.at_url(url)
    return Database(pool, name=_without_password(url), postgresql=True)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
