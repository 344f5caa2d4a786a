"""A server that is started while PostgreSQL is not up; a socket speaks its protocol's first words.

The URL's ``sslmode`` and ``gssencmode`` make the driver's first message the startup message.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import socket
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.server.serve import Server
from keruta_agent.server.store import postgresql

pytest.importorskip("psycopg")

STARTING = ("57P03", "the database system is starting up")
REFUSED = ("28P01", "password authentication failed for secret")


def _refusal(code: str, message: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4) + fields


def _refuse(listener: socket.socket, refusals: list[tuple[str, str]], begun: Event) -> None:
    begun.set()
    for turn in range(1_000):
        with contextlib.suppress(ConnectionError), listener.accept()[0] as client:
            client.recv(1_000)
            client.sendall(_refusal(*refusals[min(turn, len(refusals) - 1)]))
            # A socket that is closed with something unread resets: the refusal would be lost.
            client.shutdown(socket.SHUT_WR)
            while client.recv(1_000):
                pass


@contextlib.contextmanager
def _database(*refusals: tuple[str, str]) -> Iterator[str]:
    """Refuse each connection in its way, later ones like the last; give the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # A process, as the driver lets no other thread run while it asks.
        spawning = multiprocessing.get_context("spawn")
        begun = spawning.Event()
        answering = spawning.Process(target=_refuse, args=(listener, list(refusals), begun))
        answering.start()
        assert begun.wait(60)
    try:
        yield f"postgresql://u:secret@127.0.0.1:{port}/d?sslmode=disable&gssencmode=disable"
    finally:
        answering.kill()
        answering.join()
        answering.close()


def _failure(data_dir: Path, url: str) -> str:
    with pytest.raises(errors.AgentStateError) as caught:
        Server(data_dir, port=0, database_url=url).start()
    return str(caught.value)


def test_server_waits_for_a_database_that_starts_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Each attempt connects twice: to connect, and to ask whether it takes connections.
    with _database(*[STARTING] * 4, REFUSED) as url, caplog.at_level(logging.INFO):
        failure = _failure(tmp_path, url)
    [told] = [one.message for one in caplog.records if one.name == postgresql.__name__]
    assert "127.0.0.1/d cannot be reached yet" in told
    assert "starting up); trying for 60 seconds" in told
    # It went on to where the database answers, and told the answer without the password.
    assert "cannot open the server's database postgresql://127.0.0.1/d: " in failure
    assert "password authentication failed for ***" in failure
    assert "secret" not in failure + told


def test_server_does_not_wait_where_the_database_refuses_it(tmp_path: Path) -> None:
    with _database(REFUSED) as url:
        assert "password authentication failed" in _failure(tmp_path, url)


def test_server_says_that_its_database_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "WAIT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failure = _failure(tmp_path, f"postgresql://u:secret@127.0.0.1:{port}/d")
    assert "cannot reach the server's database postgresql://127.0.0.1/d: " in failure
    assert f"port {port} failed: Connection refused. Check that PostgreSQL runs there" in failure
    assert "secret" not in failure
