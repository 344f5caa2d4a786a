"""The HTTP server below both APIs: silent, slow and too many connections keep nobody out."""

from __future__ import annotations

import contextlib
import errno
import gc
import select
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import requests
from cheroot.connections import ConnectionManager

from keruta_agent.core import errors
from keruta_agent.http import arrivals
from keruta_agent.http.listener import Application, Listener

PATIENCE_S = 20
THREADS = 2
MOST_CONNECTIONS = 5


#: Bytes: more than the kernel takes for a client that does not read.
A_LOT = 16 * 1024 * 1024
#: What drips comes in time, and far too slowly.
DRIP_S = 0.05


def _hello(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Greet who sends nothing, else tells how much came; or says a lot."""
    come = environ["wsgi.input"].read()
    said = str(len(come)).encode() if come else b"hello"
    if environ["PATH_INFO"] == "/a-lot":
        said = bytes(A_LOT)
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]


def _endless(environ: object, start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [])
    while True:
        yield b"x" * 65536


def _listener(
    port: int = 0, timeout_s: int = PATIENCE_S, application: Application = _hello
) -> Listener:
    return Listener(
        application,
        host="127.0.0.1",
        port=port,
        threads=THREADS,
        timeout_s=timeout_s,
        look_interval_s=0.05,
        most_connections=MOST_CONNECTIONS,
        slow_clients=1,
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


@pytest.mark.parametrize(
    "half",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    ],
)
def test_half_requests_keep_nobody_out(listener: Listener, half: bytes) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(THREADS + 1):
            opened.enter_context(_connect(listener)).sendall(half)

        assert requests.get(listener.url, timeout=PATIENCE_S / 2).text == "hello"
        assert requests.post(listener.url, data=b"small", timeout=PATIENCE_S / 2).text == "5"


def test_clients_that_do_not_read_keep_nobody_out(listener: Listener) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(THREADS + 1):
            opened.enter_context(_connect(listener)).sendall(b"GET /a-lot HTTP/1.1\r\n\r\n")

        assert requests.get(listener.url, timeout=PATIENCE_S / 2).text == "hello"


def test_client_that_reads_slowly_gets_all_of_its_answer(listener: Listener) -> None:
    with _connect(listener) as connection:
        connection.sendall(b"GET /a-lot HTTP/1.0\r\n\r\n")
        time.sleep(2 * arrivals.DEAF_S)
        received = 0
        while piece := connection.recv(1 << 20):
            received += len(piece)
    assert received > A_LOT


@pytest.mark.parametrize("size", [0, 10, 60_000, 1_000_000])
def test_request_in_pieces_is_answered_like_a_whole_one(listener: Listener, size: int) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    with _connect(listener) as connection:
        for _ in range(2):  # the connection serves for more than one
            for number in range(len(head)):
                connection.sendall(head[number : number + 1])
            for piece in (size // 3, size // 3, size - size // 3 * 2):
                connection.sendall(b"x" * piece)
                time.sleep(DRIP_S)
            answer = connection.recv(1000)
            assert answer.endswith(b"\r\n\r\n" + (str(size).encode() if size else b"hello"))


def test_requests_that_come_together_are_answered_one_by_one(listener: Listener) -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with _connect(listener) as connection:
        connection.sendall(one + one + one[:-1])
        received = b""
        for count in (2, 3):
            while received.count(b"\r\n\r\n3") < count:
                received += connection.recv(1000)
            assert received.count(b"\r\n\r\n3") == count
            connection.sendall(one[-1:])


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\nHost: x", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000, 413),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\nendless", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", 400),
    ],
)
def test_head_that_makes_no_sense_is_refused_at_once(
    listener: Listener, sent: bytes, status: int
) -> None:
    with _connect(listener) as connection:
        connection.sendall(sent)
        assert connection.recv(100).startswith(f"HTTP/1.1 {status}".encode())


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n",
        b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
    ],
)
def test_body_with_two_ends_is_refused_and_what_follows_is_no_request(
    listener: Listener, head: bytes
) -> None:
    smuggled = b"0\r\n\r\nGET /a-lot HTTP/1.1\r\nHost: x\r\n\r\n"
    with _connect(listener) as connection:
        connection.sendall(head + b"Host: x\r\n\r\n" + smuggled)
        received = b""
        with contextlib.suppress(ConnectionError):  # closed with unread bytes
            while block := connection.recv(1000):
                received += block
    assert received.split(b" ", 2)[1] == b"400"
    assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("length", [100, 100_000])
def test_request_that_drips_is_cut_off(length: int) -> None:
    listener = _listener(timeout_s=1)
    listener.start()
    began = time.monotonic()
    with _connect(listener) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(
            f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        while not select.select([connection], [], [], DRIP_S)[0]:
            connection.sendall(b".")
    assert time.monotonic() - began < PATIENCE_S / 2
    listener.stop()


def test_large_body_that_waits_for_its_turn_makes_room_too(listener: Listener) -> None:
    half = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf"
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS):
            opened.enter_context(_connect(listener)).sendall(half)

        assert requests.get(listener.url, timeout=PATIENCE_S / 2).text == "hello"


def test_connection_that_was_silent_the_longest_makes_room(listener: Listener) -> None:
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(_connect(listener)) for _ in range(MOST_CONNECTIONS)]

        assert requests.get(listener.url, timeout=PATIENCE_S / 2).text == "hello"

        assert connections[0].recv(1) == b""
        connections[-1].sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connections[-1].recv(12).startswith(b"HTTP/1")


def test_silent_connection_makes_room_where_the_process_may_open_no_more_files(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = ConnectionManager._from_server_socket
    failures = [OSError(errno.EMFILE, "Too many open files")]

    def fail_once(manager: ConnectionManager, source: socket.socket) -> object:
        if failures:
            raise failures.pop()
        return accept(manager, source)

    with _connect(listener) as silent:
        assert requests.get(listener.url, timeout=PATIENCE_S / 2).text == "hello"
        monkeypatch.setattr(ConnectionManager, "_from_server_socket", fail_once)
        assert requests.get(listener.url, timeout=PATIENCE_S / 2).text == "hello"
        assert silent.recv(1) == b""


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
