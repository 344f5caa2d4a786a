"""Run a real PostgreSQL for tests: one server a process of pytest, one fresh database a test.

The fixtures are there for every test; they skip it, with the reason, where PostgreSQL is not
installed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.waiting import wait_until

#: Where Debian puts the programs of each version.
_DEBIAN = Path("/usr/lib/postgresql")
_PROGRAMS = ("initdb", "postgres")
#: Who runs them in place of root, whom they refuse.
_USERS = ("postgres", "nobody")
#: Files are kept in memory where that is possible.
_MEMORY = Path("/dev/shm")
_TIMEOUT_S = 60.0
#: The superuser of the server.
_SUPERUSER = "keruta"

#: What a server for tests may lose, and how little it needs.
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_wal_size": "256MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_min_messages": "warning",
}


def programs() -> Path | None:
    """Return the directory of PostgreSQL's programs, the newest; None where there are none."""
    in_path = shutil.which("initdb")
    versions = sorted(
        _DEBIAN.glob("[0-9]*/bin"), key=lambda found: int(found.parent.name), reverse=True
    )
    for found in [*versions, *([Path(in_path).resolve().parent] if in_path else [])]:
        if all((found / name).exists() for name in _PROGRAMS):
            return found
    return None


class PostgresqlServer:
    """One PostgreSQL in a directory of its own, on a free port of the loopback."""

    def __init__(self, directory: Path, programs: Path, port: int) -> None:
        self.port = port
        self._programs = programs
        self._data = directory / "data"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    def create(self) -> None:
        """Fill the directory."""
        self._run(
            "initdb",
            *("--pgdata", self._data, "--username", _SUPERUSER, "--auth", "trust"),
            *("--no-sync", "--encoding", "UTF8", "--locale", "C", "--no-instructions"),
        )

    def start(self, **settings: str) -> None:
        """Start it and return when it takes connections; ``settings`` add to the usual ones."""
        options = [
            f"--{name.replace('_', '-')}={value}" for name, value in (_SETTINGS | settings).items()
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_as_another_user(),
                    # It ends with this process, however that ends.
                    *("setpriv", "--pdeathsig", "QUIT"),
                    str(self._programs / "postgres"),
                    *("-D", str(self._data), "-p", str(self.port), *options),
                ],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._is_up, "PostgreSQL takes connections", _TIMEOUT_S)

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it at once, as a restart of the machine would: SIGINT ends all connections."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_TIMEOUT_S)
            self._process = None

    def url(self, database: str, *, user: str = _SUPERUSER) -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Execute a statement as the superuser and return the rows it has."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def fresh_database(self) -> Iterator[str]:
        """Give the URL of an empty database for the length of the block."""
        self._count += 1
        name = f"test_{self._count}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _is_up(self) -> bool:
        import psycopg

        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL has ended: {self._log.read_text()}")
        try:
            psycopg.connect(self.url("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [*_as_another_user(), self._programs / program, *arguments],
            cwd="/",
            check=True,
            capture_output=True,
            timeout=_TIMEOUT_S,
        )


def _another_user() -> pwd.struct_passwd | None:
    """Return who runs PostgreSQL; None where that is us."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in _USERS if name in known)


def _as_another_user() -> Sequence[str]:
    user = _another_user()
    if user is None:
        return ()
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """Give a directory that the user of PostgreSQL can reach, other than those of pytest."""
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="keruta-postgresql-", dir=parent) as name:
        user = _another_user()
        if user is not None:
            os.chown(name, user.pw_uid, user.pw_gid)
        yield Path(name)


@contextlib.contextmanager
def running_postgresql(**settings: str) -> Iterator[PostgresqlServer]:
    """Run a server for the length of the block; the test is skipped where there is none."""
    from tests.helpers.processes import free_port

    pytest.importorskip("psycopg", reason="psycopg is not installed")
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with _directory() as directory:
        server = PostgresqlServer(directory, found, free_port())
        server.create()
        server.start(**settings)
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Run one PostgreSQL for all tests of this process of pytest."""
    with running_postgresql() as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """Give the URL of an empty database."""
    with postgresql_server.fresh_database() as url:
        yield url
