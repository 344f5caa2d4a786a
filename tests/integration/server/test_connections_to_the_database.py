"""Which threads keep a connection to the database, and when they give it up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import peewee
import pytest

from keruta_agent.server.store.database import Database, open_database
from keruta_agent.server.store.statements import statement

_ONE = statement("SELECT 1")


def _in_thread(work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path, None)


def test_thread_keeps_its_connection_if_it_says_so(database: Database) -> None:
    def work() -> None:
        for keeps in (False, True):
            if keeps:
                database.keep_connection()
            with database.connected():
                assert database.run(_ONE).fetchone() == (1,)
            assert database.peewee.is_closed() is not keeps

    _in_thread(work)
    database.close()


def test_connection_on_which_something_failed_is_not_kept(database: Database) -> None:
    def work() -> None:
        database.keep_connection()
        with pytest.raises(peewee.OperationalError), database.connected():
            database.run(statement("SELECT nothing"))
        assert database.peewee.is_closed()
        with database.connected():
            assert database.run(_ONE).fetchone() == (1,)

    _in_thread(work)
    database.close()


def test_failure_within_a_block_leaves_the_connection_to_the_block_around_it(
    database: Database,
) -> None:
    def work() -> None:
        database.keep_connection()
        with database.connected():
            with pytest.raises(peewee.OperationalError), database.connected():
                database.run(statement("SELECT nothing"))
            assert database.run(_ONE).fetchone() == (1,)

    _in_thread(work)
    database.close()


def test_kept_connections_are_closed_with_the_database(database: Database) -> None:
    kept = []

    def work() -> None:
        database.keep_connection()
        with database.connected():
            kept.append(database.peewee.connection())

    _in_thread(work)
    kept[0].execute("SELECT 1")
    database.close()
    with pytest.raises(Exception, match="closed"):
        kept[0].execute("SELECT 1")
