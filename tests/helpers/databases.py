"""Which database a data directory's server has in the tests: ``pytest --database postgresql``.

By default each has its own SQLite file. With PostgreSQL each has a fresh database on the server of
this process of pytest, the same for as long as the directory is there: a server that is started
again finds what it knew. It is dropped with the test whose directory it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.helpers import postgresql
from tests.helpers.postgresql import PostgresqlServer

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"

#: Of tests about SQLite's files, which mean nothing elsewhere.
ON_SQLITE: Final = "on_sqlite"


class _Databases:
    """The databases that have been made on a server."""

    def __init__(self) -> None:
        self.server: PostgresqlServer | None = None
        self._made: dict[Path, str] = {}

    def url(self, data_dir: Path) -> str | None:
        if self.server is None:
            return None
        path = data_dir.absolute()
        name = self._made.get(path)
        if name is None:
            name = "of_" + hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
            self.server.execute(f"CREATE DATABASE {name}")
            self._made[path] = name
        return self.server.url(name)

    def drop(self, below: Path) -> None:
        for path, name in list(self._made.items()):
            if self.server is not None and path.is_relative_to(below):
                self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")
                del self._made[path]


_databases = _Databases()


def url_of(data_dir: Path) -> str | None:
    """Return the URL of a data directory's database; None where that is its own file."""
    return _databases.url(data_dir)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=(SQLITE, POSTGRESQL),
        default=SQLITE,
        help="What the servers of tests keep their rows in.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{ON_SQLITE}: is about SQLite's files alone")
    if config.getoption("--database") == POSTGRESQL and postgresql.programs() is None:
        raise pytest.UsageError("PostgreSQL is not installed (apt-get install postgresql)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what PostgreSQL makes no difference to."""
    if config.getoption("--database") == SQLITE:
        return
    left_out = [item for item in items if item.get_closest_marker(ON_SQLITE)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker(ON_SQLITE)]


@pytest.fixture(scope="session", autouse=True)
def _database_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the server for all tests of this process, where they are to use it."""
    if request.config.getoption("--database") == SQLITE:
        yield
        return
    with postgresql.running_postgresql() as server:
        _databases.server = server
        yield
        _databases.server = None


@pytest.fixture(autouse=True)
def _dropped_databases(request: pytest.FixtureRequest) -> Iterator[None]:
    """Drop the databases of a test when all that it opened is closed."""
    if _databases.server is None:
        yield
        return
    tmp_path = request.getfixturevalue("tmp_path")
    yield
    _databases.drop(tmp_path)
