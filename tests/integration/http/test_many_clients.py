"""Clients of the HTTP host that do not read, or are too many, and applications that fail."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from collections.abc import Callable

import pytest
import requests

from keruta_agent.http.serving.host import Host
from tests.helpers.http_host import (
    A_LOT,
    GET,
    HALVES,
    LAST_GET,
    MOST_CONNECTIONS,
    PATIENCE_S,
    SOON_S,
    STALL_S,
    App,
    connect,
    exchange,
    read_all,
    read_until,
    status_of,
)
from tests.helpers.waiting import wait_until

# Clients that do not read.


@pytest.mark.parametrize("path", ["/a-lot", "/endless"])
def test_clients_that_do_not_read_are_cut_off(
    host_with: Callable[..., Host], app: App, path: str
) -> None:
    host = host_with(unread_timeout_s=SOON_S)
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS):
            deaf = opened.enter_context(connect(host))
            deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert deaf.recv(12) == b"HTTP/1.1 200"

        wait_until(lambda: exchange(host, LAST_GET), "a place is free", PATIENCE_S)
        assert path != "/endless" or app.left.wait(PATIENCE_S)


def test_client_that_does_not_read_holds_up_no_other(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS - 1):
            deaf = opened.enter_context(connect(host))
            deaf.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert deaf.recv(12) == b"HTTP/1.1 200"

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"


def test_client_that_reads_slowly_gets_all_of_its_answer(host_with: Callable[..., Host]) -> None:
    host = host_with(unread_timeout_s=STALL_S)
    pieces = 20
    with connect(host) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.sendall(b"GET /a-lot HTTP/1.0\r\n\r\n")
        received = 0
        for _ in range(pieces):
            received += len(connection.recv(A_LOT // 1000))
            time.sleep(1.5 * STALL_S / pieces)
        received += len(read_all(connection))
    assert received > A_LOT


def test_client_that_leaves_is_noticed_by_a_silent_stream(host: Host, app: App) -> None:
    with connect(host) as connection:
        connection.sendall(b"GET /silent HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.has_begun.wait(PATIENCE_S)
    assert app.left.wait(PATIENCE_S)


# Too many connections.


def test_connection_that_was_silent_the_longest_makes_room(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(connect(host)) for _ in range(MOST_CONNECTIONS)]

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"

        assert read_all(connections[0]) == b""
        connections[-1].sendall(LAST_GET)
        assert status_of(read_all(connections[-1])) == 200


def test_half_requests_make_room_before_idle_connections(host: Host) -> None:
    with connect(host) as idle, contextlib.ExitStack() as opened:
        idle.sendall(GET)
        read_until(idle, b"hello")
        for _ in range(3 * MOST_CONNECTIONS):
            opened.enter_context(connect(host)).sendall(HALVES[0])

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"

        idle.sendall(LAST_GET)
        assert read_all(idle).endswith(b"hello")


def test_peer_with_the_most_idle_connections_makes_room(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        sources = ["127.0.0.2", *["127.0.0.3"] * (MOST_CONNECTIONS - 1)]
        connections = [opened.enter_context(connect(host, source)) for source in sources]
        for connection in connections:
            connection.sendall(GET)
            read_until(connection, b"hello")

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"

        connections[0].sendall(LAST_GET)
        assert read_all(connections[0]).endswith(b"hello")
        assert read_all(connections[1]) == b""


def test_requests_in_flight_make_no_room(host_with: Callable[..., Host], app: App) -> None:
    host = host_with(stop_timeout_s=PATIENCE_S)
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(connect(host)) for _ in range(MOST_CONNECTIONS)]
        for stream in streams:
            stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stream.recv(12) == b"HTTP/1.1 200"

        assert exchange(host, GET) == b""

        host.stop()
        assert all(read_all(stream).endswith(b"0\r\n\r\n") for stream in streams)


def test_silent_connection_makes_room_where_the_process_may_open_no_more_files(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = socket.socket.accept
    failures = [OSError(errno.EMFILE, "Too many open files")]

    def fail_once(listening: socket.socket) -> object:
        if failures:
            raise failures.pop()
        return accept(listening)

    with connect(host) as silent:
        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"
        monkeypatch.setattr(socket.socket, "accept", fail_once)
        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"
        assert read_all(silent) == b""


# Applications that fail.


def test_failed_application_is_answered_for(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    answer = requests.get(f"{host.url}/broken", timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()["error"]["status"]) == (500, 500)
    assert answer.json()["error"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "a request failed" in caplog.text


def test_half_answer_does_not_look_like_a_whole_one(host: Host) -> None:
    with pytest.raises(requests.exceptions.RequestException):
        requests.get(f"{host.url}/half", timeout=PATIENCE_S)
