"""A database that a newer version wrote is refused in one line that tells the way back."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent import __version__
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core import errors
from keruta_agent.server.store.database import open_database
from tests.helpers.command_line import CommandLine, command_line
from tests.helpers.postgresql import PostgresqlServer

NEWER = "8.1.0"


@pytest.fixture
def keruta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    with command_line(tmp_path, monkeypatch, capsys) as called:
        yield called


def _change(file: Path, *statements: str) -> bytes:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.read_bytes()


def _newer_agent(base_dir: Path) -> bytes:
    Database(base_dir).close()
    return _change(
        base_dir / "agent.db",
        "PRAGMA user_version = 999",
        f"UPDATE flags SET value = '{NEWER}' WHERE name = 'schema_written_by'",
    )


def _newer_server(data_dir: Path, *more: str) -> bytes:
    data_dir.mkdir(parents=True, exist_ok=True)
    open_database(data_dir, None).close()
    later = 2**60
    return _change(
        data_dir / "server.db",
        f"INSERT INTO schema_migrations VALUES ('9001_later', {later})",
        *more,
    )


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "status --json",
        "queue list",
        "queue list --json",
        "queue pause",
        "explain 1",
        "logs 1",
        "workspace status",
        "daemon --session-id s",
        "execute --detach -- true",
    ],
)
def test_command_refuses_the_database_of_a_newer_agent(command: str, keruta: CommandLine) -> None:
    before = _newer_agent(keruta.home / ".keruta")

    called = keruta(*command.split())

    assert called.code == 1, called
    [line] = called.err.splitlines()
    database = keruta.home / ".keruta" / "agent.db"
    assert line == (
        f"keruta: the database {database} was written by a newer keruta-agent, {NEWER}, than"
        f" this one ({__version__}). Install keruta-agent {NEWER} or later, or begin anew in"
        " another directory with KERUTA_BASE_DIR"
    )
    assert called.out == ""
    assert database.read_bytes() == before


def test_doctor_names_the_version_that_wrote_the_database(keruta: CommandLine) -> None:
    _newer_agent(keruta.home / ".keruta")

    called = keruta("doctor")

    assert called.code == 1
    assert f"was written by a newer keruta-agent, {NEWER}, than this one" in called.out


def test_server_refuses_the_database_of_a_newer_one(keruta: CommandLine, tmp_path: Path) -> None:
    noted = f"INSERT INTO schema_migrations VALUES ('keruta-agent {NEWER}', {2**60})"
    before = _newer_server(tmp_path / "data", noted)

    called = keruta("server", "--port", "0", "--data", str(tmp_path / "data"))

    assert called.code == 1
    assert called.err == (
        f"keruta: the database {tmp_path / 'data' / 'server.db'} was written by a newer"
        f" keruta-agent, {NEWER}, than this one ({__version__}). Install keruta-agent {NEWER} or"
        " later, or restore what was backed up before the upgrade (keruta server restore, or"
        " pg_restore where the database is PostgreSQL)\n"
    )
    assert (tmp_path / "data" / "server.db").read_bytes() == before


def test_version_that_is_still_under_way_is_not_given_the_number_of_the_last(
    tmp_path: Path,
) -> None:
    _newer_server(tmp_path)
    with pytest.raises(errors.AgentStateError) as caught:
        open_database(tmp_path, None)
    assert f"by a newer keruta-agent than this one ({__version__})" in str(caught.value)
    assert "Install the version that wrote it, or restore" in str(caught.value)


def test_database_that_notes_no_version_is_refused_as_well(tmp_path: Path) -> None:
    _newer_server(tmp_path, "DELETE FROM schema_migrations WHERE name LIKE 'keruta-agent %'")
    with pytest.raises(errors.AgentStateError, match="Install the version that wrote it"):
        open_database(tmp_path, None)


def test_other_notes_among_the_migrations_are_no_migrations(tmp_path: Path) -> None:
    open_database(tmp_path, None).close()
    _change(
        tmp_path / "server.db",
        "INSERT INTO schema_migrations VALUES ('runner-services.db of X, made at 1', 5)",
    )
    open_database(tmp_path, None).close()


def test_server_refuses_a_postgresql_that_a_newer_one_wrote(
    keruta: CommandLine, tmp_path: Path, postgresql_url: str, postgresql_server: PostgresqlServer
) -> None:
    open_database(tmp_path, postgresql_url).close()
    name = postgresql_url.rpartition("/")[2]
    postgresql_server.execute(
        f"INSERT INTO schema_migrations VALUES ('9001_later', {2**60}),"
        f" ('keruta-agent {NEWER}', {2**60 + 1})",
        name,
    )

    called = keruta(
        "server", "--port", "0", "--data", str(tmp_path / "data"), "--database-url", postgresql_url
    )

    assert called.code == 1
    assert called.err.startswith(
        f"keruta: the database postgresql://127.0.0.1/{name} was written by a newer keruta-agent,"
        f" {NEWER}, than this one ({__version__}). Install keruta-agent {NEWER} or later, or"
    )
    assert len(called.err.splitlines()) == 1
