"""The database's schema and its history."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from keruta_agent import __version__
from keruta_agent.core import errors
from keruta_agent.core.migrations import Step
from keruta_agent.server.store.database import FILE_NAME, open_database
from keruta_agent.server.store.schema import migrations
from keruta_agent.server.store.tables import COLUMNS


def test_migrations_make_the_columns_that_the_queries_name(tmp_path: Path) -> None:
    database = open_database(tmp_path, None)
    with database.connected():
        for name, named in COLUMNS.items():
            columns = [column.name for column in database.peewee.get_columns(name)]
            assert columns == list(named), name
    database.close()


def test_migrations_are_applied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_database(tmp_path, None).close()
    before = [step.name for step in migrations.MIGRATIONS]
    later = Step("9999_later", ["ALTER TABLE tasks ADD COLUMN later TEXT"])
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, later))
    for _ in range(2):
        database = open_database(tmp_path, None)
        with database.connected():
            rows = database.peewee.execute_sql("SELECT name FROM schema_migrations").fetchall()
        database.close()
        names = sorted(row[0] for row in rows)
        assert names == [*before, "9999_later", f"keruta-agent {__version__}"]


def test_migration_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Step("0002_broken", ["CREATE TABLE half (x TEXT)", "NONSENSE"])
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, broken))
    with pytest.raises(errors.AgentStateError, match=r"server\.db"):
        open_database(tmp_path, None)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
