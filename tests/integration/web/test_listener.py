"""The HTTP server below both APIs: silent and too many connections keep nobody out."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
from collections.abc import Callable, Iterable, Iterator

import pytest
import requests

from keruta_agent import errors
from keruta_agent.web.listener import Application, Listener

PATIENCE_S = 20
THREADS = 2
MOST_CONNECTIONS = 5


def _hello(environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def _endless(environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [])
    while True:
        yield b"x" * 65536


def _listener(port: int = 0, application: Application = _hello) -> Listener:
    return Listener(
        application,
        host="127.0.0.1",
        port=port,
        threads=THREADS,
        timeout_s=PATIENCE_S,
        look_interval_s=0.05,
        most_connections=MOST_CONNECTIONS,
    )


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = _listener()
    listener.start()
    yield listener
    listener.stop()


def _connect(listener: Listener) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", listener.port))
    connection.settimeout(PATIENCE_S)
    return connection


def test_silent_connections_keep_nobody_out(listener: Listener) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(THREADS + 1):
            opened.enter_context(_connect(listener))

        assert requests.get(listener.url, timeout=PATIENCE_S / 2).text == "hello"


def test_connections_above_the_limit_are_turned_away(listener: Listener) -> None:
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(_connect(listener)) for _ in range(MOST_CONNECTIONS)]

        with _connect(listener) as one_more:
            assert one_more.recv(1) == b""

        connections[0].close()
        connections[1].sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connections[1].recv(12).startswith(b"HTTP/1")


def test_port_is_free_again_although_nobody_was_ever_answered() -> None:
    listener = _listener()
    with pytest.raises(errors.AgentStateError, match="it is in use"):
        _listener(listener.port)
    listener.stop()

    with socket.create_server(("127.0.0.1", listener.port)):
        pass


def test_client_that_leaves_in_the_middle_of_an_answer_costs_no_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    monkeypatch.setattr("_pyio._IOBASE_EMITS_UNRAISABLE", True, raising=False)
    listener = _listener(application=_endless)
    listener.start()
    with _connect(listener) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(12).startswith(b"HTTP/1")
    listener.stop()

    gc.collect()
    assert complaints == []
