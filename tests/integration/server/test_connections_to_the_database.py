"""Which threads keep a connection to the database, and when they give it up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import peewee
import pytest
import requests

from keruta_agent.server.store import postgresql
from keruta_agent.server.store.database import Database, open_database
from keruta_agent.server.store.statements import statement
from tests.helpers.embedded_server import embedded_server
from tests.helpers.postgresql import PostgresqlServer

_PID = statement("SELECT pg_backend_pid()")
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


def _on_postgresql(url: str) -> Database:
    return open_database(Path(), url)


def test_no_thread_keeps_a_connection_to_postgresql(postgresql_url: str) -> None:
    database = _on_postgresql(postgresql_url)

    def work() -> None:
        database.keep_connection()
        with database.connected():
            with database.connected():
                assert database.run(_ONE).fetchone() == (1,)
            assert not database.peewee.is_closed()
        assert database.peewee.is_closed()

    _in_thread(work)
    database.close()


def test_threads_share_the_few_connections_to_postgresql(
    postgresql_url: str,
) -> None:
    database = _on_postgresql(postgresql_url)
    number = 8 * postgresql.MAX_CONNECTIONS
    together = threading.Barrier(number)

    def work(_: int) -> int:
        together.wait()
        with database.connected():
            return int(database.run(_PID).fetchone()[0])

    with ThreadPoolExecutor(number) as threads:
        used = set(threads.map(work, range(number)))
    assert 1 <= len(used) <= postgresql.MAX_CONNECTIONS
    database.close()


def test_pool_that_stays_empty_is_a_failure_of_the_database(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(postgresql, "_POOL_WAIT_S", 1)
    database = _on_postgresql(postgresql_url)

    def work() -> None:
        with (
            pytest.raises(peewee.OperationalError, match="all 1 connections"),
            database.connected(),
        ):
            pass

    with database.connected():
        _in_thread(work)
    database.close()


def test_connection_that_postgresql_has_ended_is_replaced_before_it_is_used(
    postgresql_url: str, postgresql_server: PostgresqlServer
) -> None:
    database = _on_postgresql(postgresql_url)
    with database.connected():
        [ended] = database.run(_PID).fetchone()
    postgresql_server.execute(f"SELECT pg_terminate_backend({ended}, 10000)")
    with database.connected():
        assert database.run(_PID).fetchone() != (ended,)
    database.close()


def test_server_answers_that_it_is_busy_when_the_database_takes_no_connection(
    tmp_path: Path, postgresql_url: str, postgresql_server: PostgresqlServer
) -> None:
    name = postgresql_url.rpartition("/")[2]
    # No superuser: those are let in all the same.
    postgresql_server.execute(f"CREATE ROLE role_of_{name} LOGIN")
    postgresql_server.execute(f"ALTER DATABASE {name} OWNER TO role_of_{name}")
    url = postgresql_server.url(name, user=f"role_of_{name}")
    with embedded_server(tmp_path, database_url=url) as server:
        sessions = f"{server.url}/api/v1/sessions"
        assert requests.get(sessions, timeout=20).status_code == 200
        postgresql_server.execute(f"ALTER ROLE role_of_{name} CONNECTION LIMIT 0")
        postgresql_server.execute(
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            f" WHERE usename = 'role_of_{name}'"
        )
        answer = requests.get(sessions, timeout=20)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        postgresql_server.execute(f"ALTER ROLE role_of_{name} CONNECTION LIMIT 97")
        assert requests.get(sessions, timeout=20).status_code == 200
