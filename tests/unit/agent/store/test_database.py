"""agent.db: private, migrated, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from keruta_agent.agent.store.sqlite.database import Database, make_private_directory
from keruta_agent.agent.store.sqlite.migrations import MIGRATIONS
from keruta_agent.core import errors
from tests.helpers.waiting import wait_until

#: More descriptors than a handful of connections has, far fewer than one for each thread.
MANY = 30


def test_database_and_its_directory_are_private(tmp_path: Path):
    base = tmp_path / "base"
    database = Database(base)
    database.connection().execute("SELECT 1")
    assert stat.S_IMODE(base.stat().st_mode) == 0o700
    for path in base.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    database.close()


def test_reopened_database_keeps_its_schema_version(tmp_path: Path):
    for _ in range(2):
        database = Database(tmp_path)
        version = database.connection().execute("PRAGMA user_version").fetchone()[0]
        database.close()
        assert version == len(MIGRATIONS)


_LOOK_AND_LEAVE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM jobs").fetchone()
connection.close()
"""


def test_database_that_is_opened_twice_is_not_pulled_away_by_another_process(tmp_path: Path):
    first = Database(tmp_path)
    first.connection().execute("SELECT count(*) FROM jobs").fetchone()
    second = Database(tmp_path)
    try:
        # The last one to leave removes the -wal file: it must see that we are still there.
        look = [sys.executable, "-c", _LOOK_AND_LEAVE, str(first.path)]
        subprocess.run(look, check=True)
        assert (tmp_path / "agent.db-wal").exists()
        for database in (first, second):
            with database.transaction() as connection:
                connection.execute(
                    "INSERT INTO flags (name, value) VALUES (?, '')", (id(database),)
                )
        assert first.connection().execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    finally:
        second.close()
        first.close()


def test_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path):
    Database(tmp_path).close()
    with sqlite3.connect(tmp_path / "agent.db") as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(errors.AgentStateError, match="newer"):
        Database(tmp_path)


def test_damaged_database_is_reported_with_its_path(tmp_path: Path):
    (tmp_path / "agent.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(errors.AgentStateError, match=r"agent\.db"):
        Database(tmp_path)


def test_directory_that_cannot_be_made_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(errors.AgentStateError, match="KERUTA_BASE_DIR"):
        Database(tmp_path / "file" / "base")


def test_failed_transaction_leaves_nothing(tmp_path: Path):
    database = Database(tmp_path)
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        connection.execute(
            "INSERT INTO outbox (task_id, kind, key, payload, created_at) "
            "VALUES ('t', 'status', 'k', '{}', 0)"
        )
        _ = 1 / 0
    assert database.connection().execute("SELECT count(*) FROM outbox").fetchone()[0] == 0
    database.close()


def test_transaction_that_cannot_be_stored_holds_up_no_later_one(tmp_path: Path):
    database = Database(tmp_path)
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")  # so that COMMIT fails
        connection.execute(
            "INSERT INTO outbox (task_id, run_id, kind, key, payload, created_at) "
            "VALUES ('t', 77, 'status', 'k', '{}', 0)"
        )
    assert not database.connection().in_transaction
    database.close()


def test_failure_after_which_sqlite_itself_rolls_back_is_raised_as_it_is(tmp_path: Path):
    database = Database(tmp_path)
    row = "INSERT OR ROLLBACK INTO flags (name, value) VALUES ('n', '')"
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), database.transaction() as c:
        c.execute(row)
        c.execute(row)
    assert (
        database.connection().execute("SELECT count(*) FROM flags WHERE name = 'n'").fetchone()[0]
        == 0
    )
    database.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_database_of_each_version_before_opens_with_what_it_holds(tmp_path: Path, version: int):
    with contextlib.closing(sqlite3.connect(tmp_path / "agent.db")) as old:
        for step in MIGRATIONS[:version]:
            for statement in step.statements:
                old.execute(statement)
        old.execute(f"PRAGMA user_version = {version}")
        old.execute("INSERT INTO flags (name, value) VALUES ('paused', 'kept')")
        old.commit()
    database = Database(tmp_path)
    connection = database.connection()
    assert connection.execute("SELECT value FROM flags").fetchone()[0] == "kept"
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    database.close()


def test_a_link_that_somebody_else_put_in_the_place_of_a_directory_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "ours"
    target.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(target)
    make_private_directory(link)  # our own link
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    target.chmod(0o755)
    lstat = Path.lstat

    def foreign(path: Path) -> os.stat_result:
        values = list(lstat(path))
        values[stat.ST_UID] = os.geteuid() + 1
        return os.stat_result(values)

    monkeypatch.setattr(Path, "lstat", foreign)
    with pytest.raises(errors.AgentStateError, match="another user"):
        make_private_directory(link)
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def _descriptors(path: Path) -> int:
    """Return how many descriptors of this process belong to a database."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(link.readlink()).startswith(str(path))
    return found


def test_connection_ends_with_its_thread(tmp_path: Path):
    database = Database(tmp_path)
    for number in range(100):
        thread = threading.Thread(target=_write_a_flag, args=(database, number % 2 == 0))
        thread.start()
        thread.join()
    # SQLite keeps a few for the next connection while another one holds a lock.
    assert _descriptors(database.path) < MANY
    database.close()
    wait_until(lambda: _descriptors(database.path) == 0, "the connections are closed")


def test_thread_that_breaks_in_a_transaction_leaves_no_lock_behind(tmp_path: Path):
    database = Database(tmp_path)
    abandoned = []

    def begin_and_leave() -> None:
        block = database.transaction()
        block.__enter__().execute("INSERT INTO flags (name, value) VALUES ('half', '')")
        abandoned.append(block)

    thread = threading.Thread(target=begin_and_leave)
    thread.start()
    thread.join()
    abandoned.clear()
    with database.transaction() as connection:
        assert (
            connection.execute("SELECT count(*) FROM flags WHERE name = 'half'").fetchone()[0] == 0
        )
    database.close()


def test_database_is_closed_while_threads_come_and_go(tmp_path: Path):
    for _ in range(20):
        database = Database(tmp_path)
        threads = [threading.Thread(target=_look, args=(database,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        database.close()
        for thread in threads:
            thread.join()
    wait_until(lambda: _descriptors(tmp_path) == 0, "the connections are closed")


def _write_a_flag(database: Database, durable: bool) -> None:
    with database.transaction(durable=durable) as connection:
        connection.execute("INSERT OR REPLACE INTO flags (name, value) VALUES ('x', '')")


def _look(database: Database) -> None:
    for _ in range(20):
        database.connection().execute("SELECT count(*) FROM flags").fetchone()


#: Forks while another thread has a connection, and says what became of its file in the child.
_FORK = """
import os, sys, threading
from pathlib import Path
from keruta_agent.agent.store.sqlite.database import Database

base = Path(sys.argv[1])
database = Database(base)
database.close()
ready, over = threading.Event(), threading.Event()

def hold():
    database.connection()
    ready.set()
    over.wait()

thread = threading.Thread(target=hold)
thread.start()
ready.wait()
child = os.fork()
if child == 0:
    fds = Path("/proc/self/fd")
    links = [os.readlink(fds / name) for name in os.listdir(fds) if (fds / name).exists()]
    os._exit(0 if str(base / "agent.db") in links else 1)
_, status = os.waitpid(child, 0)
over.set()
thread.join()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_child_that_was_forked_closes_no_connection_of_its_parents_threads(tmp_path: Path):
    # It would lock the database, and stand still with the lock: the parent's mutexes stay taken.
    command = [sys.executable, "-W", "ignore", "-c", _FORK, str(tmp_path / "base")]

    assert subprocess.run(command, timeout=60, check=False).returncode == 0
