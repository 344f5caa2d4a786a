"""Clients of the HTTP host that send nothing, or too little, keep nobody out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
import requests

from keruta_agent.http.serving.host import Host
from tests.helpers.http_host import (
    GET,
    HALVES,
    MOST_CONNECTIONS,
    PATIENCE_S,
    SOON_S,
    STALL_S,
    App,
    connect,
    exchange,
    is_cut_off_while_it_drips,
    read_until,
    status_of,
)


def test_silent_connections_keep_nobody_out(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS + 1):
            opened.enter_context(connect(host))

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"


@pytest.mark.parametrize("half", HALVES)
def test_half_requests_keep_nobody_out(host: Host, half: bytes) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(2 * MOST_CONNECTIONS):
            opened.enter_context(connect(host)).sendall(half)

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"
        assert requests.post(host.url, data=b"small", timeout=PATIENCE_S / 2).text == "5"


@pytest.mark.parametrize("half", HALVES)
def test_half_request_is_cut_off_in_time(host_with: Callable[..., Host], half: bytes) -> None:
    host = host_with(
        header_timeout_s=SOON_S, body_grace_s=SOON_S, drain_timeout_s=SOON_S, linger_s=SOON_S
    )
    assert exchange(host, half)


def test_half_request_is_told_why_it_is_cut_off(host_with: Callable[..., Host]) -> None:
    host = host_with(header_timeout_s=SOON_S, body_grace_s=SOON_S, linger_s=SOON_S)
    for half in HALVES[:2]:
        answer = exchange(host, half)
        assert status_of(answer) == 408
        assert b"connection: close" in answer
        assert b'{"error":{"code":"REQUEST_TIMEOUT","message":' in answer


def test_application_learns_that_a_body_never_comes(
    host_with: Callable[..., Host], app: App
) -> None:
    exchange(host_with(body_grace_s=SOON_S), HALVES[1])
    assert app.left.wait(PATIENCE_S)


@pytest.mark.parametrize("first", [b"", GET, b"\r\n"])
def test_idle_connection_is_closed_without_a_word(
    host_with: Callable[..., Host], first: bytes
) -> None:
    host = host_with(header_timeout_s=SOON_S, idle_timeout_s=SOON_S)
    assert exchange(host, first).count(b"HTTP/1.1") == (first == GET)


def test_empty_lines_do_not_keep_an_idle_connection_open(host_with: Callable[..., Host]) -> None:
    host = host_with(idle_timeout_s=SOON_S)
    with connect(host) as connection:
        connection.sendall(GET)
        read_until(connection, b"hello")
        assert is_cut_off_while_it_drips(connection, b"\r\n")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
        b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
    ],
)
def test_request_that_drips_is_cut_off(host_with: Callable[..., Host], head: bytes) -> None:
    host = host_with(
        header_timeout_s=SOON_S, body_grace_s=SOON_S, drain_timeout_s=SOON_S, linger_s=SOON_S
    )
    with connect(host) as connection:
        connection.sendall(head)
        assert is_cut_off_while_it_drips(connection, b".")


def test_large_body_may_take_longer_than_it_may_stand_still(
    host_with: Callable[..., Host],
) -> None:
    host = host_with(body_grace_s=STALL_S, slowest_body=10)
    pieces = 20
    with connect(host) as connection:
        connection.sendall(
            f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {pieces * 100}\r\n\r\n".encode()
        )
        for _ in range(pieces):
            connection.sendall(bytes(100))
            time.sleep(1.5 * STALL_S / pieces)
        read_until(connection, b"\r\n\r\n2000")


def test_strangers_that_drip_into_refused_uploads_block_no_upload(host: Host) -> None:
    head = b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n"
    with contextlib.ExitStack() as opened:
        for _ in range(8):
            opened.enter_context(connect(host)).sendall(head + bytes(600))
        for _ in range(3):
            answer = requests.post(host.url, data=bytes(1_000_000), timeout=PATIENCE_S / 2)
            assert answer.text == "1000000"
