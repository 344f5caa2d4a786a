"""Every database survives a kill in the middle of its migration, and opens when it is older."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core.migrations import statements
from keruta_agent.server.store.database import open_database

#: Opens each database, by its file's name.
OPEN: Final[dict[str, Callable[[Path], None]]] = {
    "agent.db": lambda directory: Database(directory).close(),
    "server.db": lambda directory: open_database(directory, None).close(),
}

_KILLED_AFTER: Final = """
import os, signal, sys
from pathlib import Path
from keruta_agent.core import migrations
from tests.integration.core.test_migrations import OPEN

name, directory, left = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
apply = migrations.apply

def killing(steps, *, execute, **others):
    def execute_or_die(statement):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return execute(statement)

    apply(steps, execute=execute_or_die, **others)

migrations.apply = killing
OPEN[name](directory)
"""


def schema(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1")
        return [row[0] for row in rows]


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("after", [1, 9])
def test_database_whose_migration_was_killed_is_whole(
    name: str, after: int, tmp_path: Path
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED_AFTER, name, str(tmp_path), str(after)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert schema(tmp_path / name) == []

    OPEN[name](tmp_path)

    (tmp_path / "fresh").mkdir()
    OPEN[name](tmp_path / "fresh")
    assert schema(tmp_path / name) == schema(tmp_path / "fresh" / name)


def test_statements_of_a_script_are_split_at_their_ends_alone() -> None:
    script = "CREATE TABLE a (b TEXT); -- one; two\nINSERT INTO a VALUES ('x;\ny');\n"
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements(script):
            connection.execute(statement)
        assert connection.execute("SELECT b FROM a").fetchall() == [("x;\ny",)]
