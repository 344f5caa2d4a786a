"""Requests that come in unusual pieces, can be read in two ways, or are too large."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from keruta_agent.http.serving.host import Host
from tests.helpers.http_host import (
    A_LOT,
    GET,
    PATIENCE_S,
    SOON_S,
    App,
    connect,
    exchange,
    read_until,
    status_of,
)

# Requests in unusual pieces.


@pytest.mark.parametrize("size", [0, 10, 60_000, 1_000_000])
def test_request_in_pieces_is_answered_like_a_whole_one(host: Host, size: int) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    with connect(host) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):  # the connection serves for more than one
            for number in range(len(head)):
                connection.sendall(head[number : number + 1])
            for piece in (size // 3, size // 3, size - size // 3 * 2):
                connection.sendall(b"x" * piece)
            read_until(connection, b"\r\n\r\n" + (str(size).encode() if size else b"hello"))


def test_requests_that_come_together_are_answered_one_by_one(host: Host) -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with connect(host) as connection:
        connection.sendall(one + one + one[:-1])
        received = b""
        for count in (2, 3):
            while received.count(b"\r\n\r\n3") < count:
                received += connection.recv(1000)
            assert received.count(b"\r\n\r\n3") == count
            connection.sendall(one[-1:])


def test_refusal_stands_behind_the_answers_to_the_requests_before(host: Host) -> None:
    answer = exchange(host, GET + GET + b"no request\r\n\r\n")
    assert [part.split(b" ")[0] for part in answer.split(b"HTTP/1.1 ")[1:]] == [
        b"200",
        b"200",
        b"400",
    ]


@pytest.mark.parametrize("limit", [1, 3])
def test_requests_without_end_before_their_answers_are_refused(
    host_with: Callable[..., Host], limit: int
) -> None:
    answer = exchange(host_with(pipelined_requests=limit), GET * 1000)
    assert answer.count(b" 200 OK") == limit + 1
    assert answer.count(b" 400 Bad Request") == 1


def test_chunked_body_is_read(host: Host) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(100_000)

    assert requests.post(host.url, data=pieces(), timeout=PATIENCE_S).text == "1000000"


def test_headers_behind_a_chunked_body_are_forgotten(host: Host) -> None:
    answer = exchange(
        host,
        b"POST /headers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer smuggled\r\n\r\n",
    )
    assert answer.endswith(b"host; connection; transfer-encoding")


def test_body_does_not_wait_for_the_acknowledgement_of_its_head(host: Host) -> None:
    with connect(host) as connection:
        connection.sendall(GET)
        read_until(connection, b"hello")
        (open_one,) = host._server.server_state.connections
        accepted = open_one.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_client_that_waits_for_a_word_before_its_body_gets_one(host: Host) -> None:
    with connect(host) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        read_until(connection, b"\r\n\r\n3")


def test_refused_client_that_waits_for_a_word_is_not_waited_for(
    host_with: Callable[..., Host],
) -> None:
    answer = exchange(
        host_with(linger_s=SOON_S),
        b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    )
    assert status_of(answer) == 401
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_old_version_is_answered_without_chunks(host: Host, app: App, path: str) -> None:
    with connect(host) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        received = b""
        while not received.endswith((b"hello", b": here\n\n")):
            received += connection.recv(1000)
    assert b"transfer-encoding" not in received
    assert b"connection: close" in received
    assert received.split(b"\r\n\r\n")[1] in (b"hello", b": here\n\n")


# Requests that two servers would read in two ways, and too large ones.


def _request(*lines: bytes, body: bytes = b"", host: bytes = b"Host: x\r\n") -> bytes:
    first, *headers = lines
    return b"\r\n".join([first, *headers, host + b"\r\n" if host else b"\r\n"]) + body


POST = b"POST / HTTP/1.1"
SMUGGLED = b"0\r\n\r\nGET /a-lot HTTP/1.1\r\nHost: x\r\n\r\n"

REFUSED = {
    "length and chunks": (_request(POST, b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "chunks and length": (_request(POST, b"Transfer-Encoding: chunked", b"Content-Length: 9"), 400),
    "chunks in 1.0": (_request(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked"), 400),
    "same length twice": (_request(POST, b"Content-Length: 3", b"Content-Length: 3"), 400),
    "two lengths": (_request(POST, b"Content-Length: 5", b"Content-Length: 6"), 400),
    "list of lengths": (_request(POST, b"Content-Length: 3, 3"), 400),
    "signed length": (_request(POST, b"Content-Length: +3"), 400),
    "negative length": (_request(POST, b"Content-Length: -1"), 400),
    "length of a float": (_request(POST, b"Content-Length: 1e30"), 400),
    "length beyond all": (_request(POST, b"Content-Length: " + b"9" * 30), 400),
    "bare CR in a value": (_request(POST, b"X: a\rb"), 400),
    "NUL in a value": (_request(POST, b"X: a\0b"), 400),
    "control byte in a value": (_request(POST, b"X: a\x01b"), 400),
    "space before the colon": (_request(POST, b"X : a"), 400),
    "folded line": (_request(POST, b"X: a", b" b"), 400),
    "other coding": (_request(POST, b"Transfer-Encoding: gzip, chunked"), 400),
    "coding twice": (
        _request(POST, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        400,
    ),
    "unknown coding": (_request(POST, b"Transfer-Encoding: xchunked"), 400),
    "LF only": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "CR only": (b"GET / HTTP/1.1\rHost: x\r\r", 400),
    "chunks with LF only": (_request(POST, b"Transfer-Encoding: chunked", body=b"3\nabc\n"), 400),
    "chunk without a size": (_request(POST, b"Transfer-Encoding: chunked", body=b"x\r\n"), 400),
    "chunk longer than it says": (
        _request(POST, b"Transfer-Encoding: chunked", body=b"1\r\nabc\r\n"),
        400,
    ),
    "no Host": (_request(b"GET / HTTP/1.1", host=b""), 400),
    "two Hosts": (_request(b"GET / HTTP/1.1", b"Host: y"), 400),
    "two Hosts in 1.0": (_request(b"GET / HTTP/1.0", b"Host: y"), 400),
    "target of another host": (_request(b"GET http://y/ HTTP/1.1"), 400),
    "target without a path": (_request(b"GET http://x HTTP/1.1"), 400),
    "target of another scheme": (_request(b"GET ftp://x/ HTTP/1.1"), 400),
    "connect": (_request(b"CONNECT x:443 HTTP/1.1"), 400),
    "no path": (_request(b"GET x HTTP/1.1"), 400),
    "version 2.0": (_request(b"GET / HTTP/2.0"), 505),
    "version 0.9": (b"GET /\r\n\r\n", 505),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "header of 1 MB": (_request(b"GET / HTTP/1.1", b"X: " + b"y" * 1_000_000), 431),
    "header of 20 MB": (_request(b"GET / HTTP/1.1", b"X: " + b"y" * 20_000_000), 431),
    "5,000 headers": (_request(b"GET / HTTP/1.1", *[b"X: y"] * 5000), 431),
    "100,000 headers": (_request(b"GET / HTTP/1.1", *[b"X: y"] * 100_000), 431),
    "target of 70 kB": (_request(b"GET /" + b"y" * 70_000 + b" HTTP/1.1"), 431),
    "trailer of 1 MB": (
        _request(POST, b"Transfer-Encoding: chunked", body=b"0\r\nX: " + b"y" * 1_000_000),
        431,
    ),
    "extension of a chunk of 1 MB": (
        _request(POST, b"Transfer-Encoding: chunked", body=b"3;" + b"y" * 1_000_000),
        431,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_request_that_can_be_read_in_two_ways_is_refused(host: Host, name: str) -> None:
    request, status = REFUSED[name]

    answer = exchange(host, request + SMUGGLED)

    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1, "what followed was taken for a request"
    assert b"connection: close" in answer
    assert b'{"error":{"code":' in answer


@pytest.mark.parametrize(
    "request_line", [b"GET http://x/ HTTP/1.1", b"GET / HTTP/1.1", b"GET / HTTP/1.0"]
)
def test_request_that_can_be_read_in_one_way_is_answered(host: Host, request_line: bytes) -> None:
    assert exchange(host, _request(request_line, b"Connection: close")).endswith(b"hello")


def test_other_protocol_is_not_changed_to(host: Host) -> None:
    request = _request(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket")
    assert status_of(exchange(host, request + b"\x81\x00")) == 200


def test_refused_header_sent_on_and_on_costs_no_reset(host: Host) -> None:
    answer = requests.get(host.url, headers={"X": "y" * 3_000_000}, timeout=PATIENCE_S)
    assert answer.json()["error"]["code"] == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize("is_chunked", [False, True])
def test_client_that_sends_first_and_reads_then_sees_its_refusal(
    host: Host, is_chunked: bool
) -> None:
    size = 100 * 1024 * 1024
    data: Any = iter([bytes(size // 100)] * 100) if is_chunked else bytes(size)

    answer = requests.post(f"{host.url}/refused", data=data, timeout=PATIENCE_S)

    assert (answer.status_code, answer.text) == (401, "no")


def test_refused_body_is_not_read_without_end(host_with: Callable[..., Host]) -> None:
    host = host_with(drained_bytes=A_LOT)
    with connect(host) as connection, pytest.raises(ConnectionError):
        connection.sendall(
            b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
        )
        for _ in range(1000):
            connection.sendall(bytes(A_LOT // 16))
