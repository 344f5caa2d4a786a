"""The HTTP host below all APIs: silent, slow, hostile and too many clients keep nobody out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import multiprocessing
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from cryptography.hazmat.primitives import serialization

from keruta_agent.core import errors
from keruta_agent.http.host import STOP_TIMEOUT_S, Host
from keruta_agent.http.limits import Limits
from keruta_agent.http.tls import Tls
from tests.helpers.waiting import wait_until

#: Seconds within which everything happens, on a machine with much else to do.
PATIENCE_S = 20
#: A time-out that is to be met.
SOON_S = 0.3
#: A time-out that is not to be met, although more time passes in all; longer than a busy machine
#: lets a process stand.
STALL_S = 2.0
MOST_CONNECTIONS = 5
#: Bytes: more than the kernel takes for a client that does not read.
A_LOT = 16 * 1024 * 1024
LIMITS = Limits(connections=MOST_CONNECTIONS, check_interval_s=0.05)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class App:
    """Answers how long a body is, and some paths otherwise."""

    def __init__(self) -> None:
        self.streams: list[asyncio.Event] = []
        self.left = threading.Event()
        self.stopping = asyncio.Event()
        self.has_begun = threading.Event()

    def begin_stop(self) -> None:
        self.stopping.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        answer = {
            "/a-lot": self._say_a_lot,
            "/endless": self._say_without_end,
            "/stream": self._stream,
            "/silent": self._wait_for_the_end,
            "/slow": self._take_time,
            "/busy": self._ignore_the_end,
            "/refused": self._refuse,
            "/broken": self._break,
            "/half": self._break_in_the_middle,
            "/headers": self._headers,
        }.get(scope["path"], self._measure)
        await answer(scope, receive, send)

    async def _measure(self, scope: Any, receive: Any, send: Any) -> None:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        await _say(send, 200, str(size).encode() if size else b"hello")

    async def _say_a_lot(self, scope: Any, receive: Any, send: Any) -> None:
        await _say(send, 200, bytes(A_LOT))

    async def _say_without_end(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(asyncio.CancelledError):
            while (await _now(receive)) != "http.disconnect":
                block = {"type": "http.response.body", "body": bytes(65536), "more_body": True}
                await send(block)
        self.left.set()

    async def _stream(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b": here\n\n", "more_body": True})
        self.has_begun.set()
        await self.stopping.wait()
        await send({"type": "http.response.body", "body": b"retry: 1\n\n"})

    async def _wait_for_the_end(self, scope: Any, receive: Any, send: Any) -> None:
        self.has_begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    async def _take_time(self, scope: Any, receive: Any, send: Any) -> None:
        self.has_begun.set()
        await self.stopping.wait()
        await asyncio.sleep(SOON_S)
        await _say(send, 200, b"done")

    async def _ignore_the_end(self, scope: Any, receive: Any, send: Any) -> None:
        self.has_begun.set()
        await asyncio.sleep(3600)

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        await _say(send, 401, b"no")

    async def _break(self, scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("broken")

    async def _break_in_the_middle(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"transfer-encoding", b"chunked")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("broken")

    async def _headers(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await _say(send, 200, b"; ".join(name for name, _ in scope["headers"]))


async def _say(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _now(receive: Any) -> str | None:
    """Return the type of what has come after the body, if anything has."""
    try:
        async with asyncio.timeout(0):
            return str((await receive())["type"])
    except TimeoutError:
        return None


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def host_with(app: App) -> Iterator[Callable[..., Host]]:
    with contextlib.ExitStack() as opened:

        def start(stop_timeout_s: float = STOP_TIMEOUT_S, **limits: Any) -> Host:
            host = Host(
                app,
                host="127.0.0.1",
                port=0,
                limits=dataclasses.replace(LIMITS, **limits),
                stop_timeout_s=stop_timeout_s,
            )
            opened.callback(host.stop)
            host.start()
            return host

        yield start


@pytest.fixture
def host(host_with: Callable[..., Host]) -> Host:
    return host_with()


def _connect(host: Host, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", host.port), timeout=PATIENCE_S, source_address=(source, 0)
    )


def _read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):  # it was closed with unread bytes
        while block := connection.recv(1 << 20):
            received += block
    return received


def _read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        block = connection.recv(1000)
        assert block, f"closed after {received!r}"
        received += block
    return received


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # it was closed in the meantime
        connection.sendall(data)


def _exchange(host: Host, request: bytes) -> bytes:
    with _connect(host) as connection:
        _send(connection, request)
        return _read_all(connection)


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


# Connections that nothing, or too little, comes on.


def test_silent_connections_keep_nobody_out(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS + 1):
            opened.enter_context(_connect(host))

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"


HALVES = [
    b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf",
    GET + b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
]


@pytest.mark.parametrize("half", HALVES)
def test_half_requests_keep_nobody_out(host: Host, half: bytes) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(2 * MOST_CONNECTIONS):
            opened.enter_context(_connect(host)).sendall(half)

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"
        assert requests.post(host.url, data=b"small", timeout=PATIENCE_S / 2).text == "5"


@pytest.mark.parametrize("half", HALVES)
def test_half_request_is_cut_off_in_time(host_with: Callable[..., Host], half: bytes) -> None:
    host = host_with(
        header_timeout_s=SOON_S, body_grace_s=SOON_S, drain_timeout_s=SOON_S, linger_s=SOON_S
    )
    assert _exchange(host, half)


def test_half_request_is_told_why_it_is_cut_off(host_with: Callable[..., Host]) -> None:
    host = host_with(header_timeout_s=SOON_S, body_grace_s=SOON_S, linger_s=SOON_S)
    for half in HALVES[:2]:
        answer = _exchange(host, half)
        assert _status(answer) == 408
        assert b"connection: close" in answer
        assert b'{"error":{"code":"REQUEST_TIMEOUT","message":' in answer


def test_application_learns_that_a_body_never_comes(
    host_with: Callable[..., Host], app: App
) -> None:
    _exchange(host_with(body_grace_s=SOON_S), HALVES[1])
    assert app.left.wait(PATIENCE_S)


@pytest.mark.parametrize("first", [b"", GET, b"\r\n"])
def test_idle_connection_is_closed_without_a_word(
    host_with: Callable[..., Host], first: bytes
) -> None:
    host = host_with(header_timeout_s=SOON_S, idle_timeout_s=SOON_S)
    assert _exchange(host, first).count(b"HTTP/1.1") == (first == GET)


def test_empty_lines_do_not_keep_an_idle_connection_open(host_with: Callable[..., Host]) -> None:
    host = host_with(idle_timeout_s=SOON_S)
    with _connect(host) as connection:
        connection.sendall(GET)
        _read_until(connection, b"hello")
        _drip(connection, b"\r\n")


def _drip(connection: socket.socket, piece: bytes) -> None:
    """Send a little again and again, until the server ends it."""
    connection.settimeout(SOON_S / 5)
    until = time.monotonic() + PATIENCE_S
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < until:
            connection.sendall(piece)
            with contextlib.suppress(TimeoutError):
                while connection.recv(1000):
                    pass
                return
        pytest.fail("it was not cut off")


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
    with _connect(host) as connection:
        connection.sendall(head)
        _drip(connection, b".")


def test_large_body_may_take_longer_than_it_may_stand_still(
    host_with: Callable[..., Host],
) -> None:
    host = host_with(body_grace_s=STALL_S, slowest_body=10)
    pieces = 20
    with _connect(host) as connection:
        connection.sendall(
            f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {pieces * 100}\r\n\r\n".encode()
        )
        for _ in range(pieces):
            connection.sendall(bytes(100))
            time.sleep(1.5 * STALL_S / pieces)
        _read_until(connection, b"\r\n\r\n2000")


def test_strangers_that_drip_into_refused_uploads_block_no_upload(host: Host) -> None:
    head = b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n\r\n"
    with contextlib.ExitStack() as opened:
        for _ in range(8):
            opened.enter_context(_connect(host)).sendall(head + bytes(600))
        for _ in range(3):
            answer = requests.post(host.url, data=bytes(1_000_000), timeout=PATIENCE_S / 2)
            assert answer.text == "1000000"


# Requests in unusual pieces.


@pytest.mark.parametrize("size", [0, 10, 60_000, 1_000_000])
def test_request_in_pieces_is_answered_like_a_whole_one(host: Host, size: int) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
    with _connect(host) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):  # the connection serves for more than one
            for number in range(len(head)):
                connection.sendall(head[number : number + 1])
            for piece in (size // 3, size // 3, size - size // 3 * 2):
                connection.sendall(b"x" * piece)
            _read_until(connection, b"\r\n\r\n" + (str(size).encode() if size else b"hello"))


def test_requests_that_come_together_are_answered_one_by_one(host: Host) -> None:
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with _connect(host) as connection:
        connection.sendall(one + one + one[:-1])
        received = b""
        for count in (2, 3):
            while received.count(b"\r\n\r\n3") < count:
                received += connection.recv(1000)
            assert received.count(b"\r\n\r\n3") == count
            connection.sendall(one[-1:])


def test_refusal_stands_behind_the_answers_to_the_requests_before(host: Host) -> None:
    answer = _exchange(host, GET + GET + b"no request\r\n\r\n")
    assert [part.split(b" ")[0] for part in answer.split(b"HTTP/1.1 ")[1:]] == [
        b"200",
        b"200",
        b"400",
    ]


@pytest.mark.parametrize("limit", [1, 3])
def test_requests_without_end_before_their_answers_are_refused(
    host_with: Callable[..., Host], limit: int
) -> None:
    answer = _exchange(host_with(pipelined_requests=limit), GET * 1000)
    assert answer.count(b" 200 OK") == limit + 1
    assert answer.count(b" 400 Bad Request") == 1


def test_chunked_body_is_read(host: Host) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield bytes(100_000)

    assert requests.post(host.url, data=pieces(), timeout=PATIENCE_S).text == "1000000"


def test_headers_behind_a_chunked_body_are_forgotten(host: Host) -> None:
    answer = _exchange(
        host,
        b"POST /headers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer smuggled\r\n\r\n",
    )
    assert answer.endswith(b"host; connection; transfer-encoding")


def test_body_does_not_wait_for_the_acknowledgement_of_its_head(host: Host) -> None:
    with _connect(host) as connection:
        connection.sendall(GET)
        _read_until(connection, b"hello")
        (open_one,) = host._server.server_state.connections
        accepted = open_one.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_client_that_waits_for_a_word_before_its_body_gets_one(host: Host) -> None:
    with _connect(host) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        _read_until(connection, b"\r\n\r\n3")


def test_refused_client_that_waits_for_a_word_is_not_waited_for(
    host_with: Callable[..., Host],
) -> None:
    answer = _exchange(
        host_with(linger_s=SOON_S),
        b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    )
    assert _status(answer) == 401
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_old_version_is_answered_without_chunks(host: Host, app: App, path: str) -> None:
    with _connect(host) as connection:
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

    answer = _exchange(host, request + SMUGGLED)

    assert _status(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1, "what followed was taken for a request"
    assert b"connection: close" in answer
    assert b'{"error":{"code":' in answer


@pytest.mark.parametrize(
    "request_line", [b"GET http://x/ HTTP/1.1", b"GET / HTTP/1.1", b"GET / HTTP/1.0"]
)
def test_request_that_can_be_read_in_one_way_is_answered(host: Host, request_line: bytes) -> None:
    assert _exchange(host, _request(request_line, b"Connection: close")).endswith(b"hello")


def test_other_protocol_is_not_changed_to(host: Host) -> None:
    request = _request(b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket")
    assert _status(_exchange(host, request + b"\x81\x00")) == 200


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
    with _connect(host) as connection, pytest.raises(ConnectionError):
        connection.sendall(
            b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
        )
        for _ in range(1000):
            connection.sendall(bytes(A_LOT // 16))


# Clients that do not read.


@pytest.mark.parametrize("path", ["/a-lot", "/endless"])
def test_clients_that_do_not_read_are_cut_off(
    host_with: Callable[..., Host], app: App, path: str
) -> None:
    host = host_with(unread_timeout_s=SOON_S)
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS):
            deaf = opened.enter_context(_connect(host))
            deaf.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert deaf.recv(12) == b"HTTP/1.1 200"

        wait_until(lambda: _exchange(host, LAST_GET), "a place is free", PATIENCE_S)
        assert path != "/endless" or app.left.wait(PATIENCE_S)


def test_client_that_does_not_read_holds_up_no_other(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_CONNECTIONS - 1):
            deaf = opened.enter_context(_connect(host))
            deaf.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert deaf.recv(12) == b"HTTP/1.1 200"

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"


def test_client_that_reads_slowly_gets_all_of_its_answer(host_with: Callable[..., Host]) -> None:
    host = host_with(unread_timeout_s=STALL_S)
    pieces = 20
    with _connect(host) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        connection.sendall(b"GET /a-lot HTTP/1.0\r\n\r\n")
        received = 0
        for _ in range(pieces):
            received += len(connection.recv(A_LOT // 1000))
            time.sleep(1.5 * STALL_S / pieces)
        received += len(_read_all(connection))
    assert received > A_LOT


def test_client_that_leaves_is_noticed_by_a_silent_stream(host: Host, app: App) -> None:
    with _connect(host) as connection:
        connection.sendall(b"GET /silent HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.has_begun.wait(PATIENCE_S)
    assert app.left.wait(PATIENCE_S)


# Too many connections.


def test_connection_that_was_silent_the_longest_makes_room(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        connections = [opened.enter_context(_connect(host)) for _ in range(MOST_CONNECTIONS)]

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"

        assert _read_all(connections[0]) == b""
        connections[-1].sendall(LAST_GET)
        assert _status(_read_all(connections[-1])) == 200


def test_half_requests_make_room_before_idle_connections(host: Host) -> None:
    with _connect(host) as idle, contextlib.ExitStack() as opened:
        idle.sendall(GET)
        _read_until(idle, b"hello")
        for _ in range(3 * MOST_CONNECTIONS):
            opened.enter_context(_connect(host)).sendall(HALVES[0])

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"

        idle.sendall(LAST_GET)
        assert _read_all(idle).endswith(b"hello")


def test_peer_with_the_most_idle_connections_makes_room(host: Host) -> None:
    with contextlib.ExitStack() as opened:
        sources = ["127.0.0.2", *["127.0.0.3"] * (MOST_CONNECTIONS - 1)]
        connections = [opened.enter_context(_connect(host, source)) for source in sources]
        for connection in connections:
            connection.sendall(GET)
            _read_until(connection, b"hello")

        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"

        connections[0].sendall(LAST_GET)
        assert _read_all(connections[0]).endswith(b"hello")
        assert _read_all(connections[1]) == b""


def test_requests_in_flight_make_no_room(host_with: Callable[..., Host], app: App) -> None:
    host = host_with(stop_timeout_s=PATIENCE_S)
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(_connect(host)) for _ in range(MOST_CONNECTIONS)]
        for stream in streams:
            stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stream.recv(12) == b"HTTP/1.1 200"

        assert _exchange(host, GET) == b""

        host.stop()
        assert all(_read_all(stream).endswith(b"0\r\n\r\n") for stream in streams)


def test_silent_connection_makes_room_where_the_process_may_open_no_more_files(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = socket.socket.accept
    failures = [OSError(errno.EMFILE, "Too many open files")]

    def fail_once(listening: socket.socket) -> object:
        if failures:
            raise failures.pop()
        return accept(listening)

    with _connect(host) as silent:
        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"
        monkeypatch.setattr(socket.socket, "accept", fail_once)
        assert requests.get(host.url, timeout=PATIENCE_S / 2).text == "hello"
        assert _read_all(silent) == b""


# Applications that fail.


def test_failed_application_is_answered_for(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    answer = requests.get(f"{host.url}/broken", timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()["error"]["status"]) == (500, 500)
    assert answer.json()["error"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "a request failed" in caplog.text


def test_half_answer_does_not_look_like_a_whole_one(host: Host) -> None:
    with pytest.raises(requests.exceptions.RequestException):
        requests.get(f"{host.url}/half", timeout=PATIENCE_S)


# The start and the stop.


def test_port_in_use_is_told_and_free_again_although_nobody_was_ever_answered(app: App) -> None:
    host = Host(app, host="127.0.0.1", port=0)
    with pytest.raises(errors.AgentStateError, match="it is in use"):
        Host(app, host="127.0.0.1", port=host.port)
    host.stop()

    with socket.create_server(("127.0.0.1", host.port)):
        pass


@pytest.mark.parametrize(
    ("address", "port"), [("192.0.2.1", 0), ("no.such.name.invalid", 0), ("127.0.0.1", 70_000)]
)
def test_address_that_cannot_be_used_is_told(app: App, address: str, port: int) -> None:
    with pytest.raises(errors.AgentStateError, match=f"cannot listen on {address} port {port}"):
        Host(app, host=address, port=port)


def test_port_is_free_after_the_stop(host: Host) -> None:
    requests.get(host.url, timeout=PATIENCE_S)
    host.stop()
    host.stop()
    with socket.create_server(("127.0.0.1", host.port)):
        pass


def test_request_in_flight_is_finished_at_the_stop(
    host_with: Callable[..., Host], app: App
) -> None:
    host = host_with(stop_timeout_s=PATIENCE_S)
    with _connect(host) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.has_begun.wait(PATIENCE_S)
        host.stop()
        assert _read_all(connection).endswith(b"done")


def test_stream_ends_in_order_at_the_stop(host_with: Callable[..., Host], app: App) -> None:
    host = host_with(stop_timeout_s=PATIENCE_S)
    with _connect(host) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.has_begun.wait(PATIENCE_S)
        host.stop()
        assert _read_all(connection).endswith(b"retry: 1\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("half", [*HALVES, b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n", b""])
def test_stop_waits_for_no_client_longer_than_it_may(
    app: App, half: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    others = set(threading.enumerate())
    host = Host(app, host="127.0.0.1", port=0, limits=LIMITS, stop_timeout_s=SOON_S)
    host.start()
    with _connect(host) as connection:
        connection.sendall(half)
        requests.get(host.url, timeout=PATIENCE_S)
        host.stop()
        _read_all(connection)
    assert not any(thread.name == "http" for thread in {*threading.enumerate()} - others)
    assert "Traceback" not in caplog.text


def test_signals_of_the_process_are_left_alone(app: App) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    host = Host(app, host="127.0.0.1", port=0)
    host.start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    host.stop()


def test_end_of_its_thread_is_logged(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host._server, "on_tick", lambda counter: 1 / 0)
    wait_until(lambda: f"the server on {host.url} has failed" in caplog.text, "it is logged")
    host.stop()


def test_several_hosts_serve_in_one_process(host_with: Callable[..., Host]) -> None:
    hosts = [host_with() for _ in range(3)]
    assert len({host.port for host in hosts}) == 3
    for host in hosts:
        assert requests.get(host.url, timeout=PATIENCE_S).text == "hello"


def _serve_one_request(answers: Any) -> None:
    host = Host(App(), host="127.0.0.1", port=0)
    host.start()
    answers.put(requests.get(host.url, timeout=PATIENCE_S).text)
    host.stop()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_forked_process_has_hosts_of_its_own(host: Host) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_serve_one_request, args=(answers,))
    child.start()
    child.join(PATIENCE_S)
    assert child.exitcode == 0
    assert answers.get() == "hello"
    assert requests.get(host.url, timeout=PATIENCE_S).text == "hello"


def test_address_of_version_6_stands_in_brackets(app: App) -> None:
    try:
        host = Host(app, host="::1", port=0)
    except errors.AgentStateError:
        pytest.skip("no IPv6 here")
    host.start()
    assert host.url == f"http://[::1]:{host.port}"
    assert requests.get(host.url, timeout=PATIENCE_S).text == "hello"
    host.stop()


# TLS.


def _certificate(directory: Path, authority: trustme.CA, *names: str) -> Tls:
    """Write a new certificate where the one before was, if there was one."""
    files = Tls(directory / "cert.pem", directory / "key.pem")
    issued = authority.issue_cert(*names)
    issued.private_key_pem.write_to_path(str(files.key))
    files.certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    return files


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return authority


@pytest.fixture
def tls_host(app: App, tmp_path: Path, authority: trustme.CA) -> Iterator[Host]:
    limits = dataclasses.replace(LIMITS, header_timeout_s=PATIENCE_S / 4)
    files = _certificate(tmp_path, authority, "127.0.0.1")
    host = Host(app, host="127.0.0.1", port=0, limits=limits, tls=files)
    host.start()
    yield host
    host.stop()


def _serial_number(host: Host, directory: Path) -> object:
    context = ssl.create_default_context(cafile=str(directory / "authority.pem"))
    with (
        _connect(host) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as wrapped,
    ):
        wrapped.sendall(LAST_GET)
        assert _read_all(wrapped).endswith(b"hello")
        certificate = wrapped.getpeercert()
        assert certificate is not None
        return certificate["serialNumber"]


def test_host_with_a_certificate_speaks_tls(tls_host: Host, tmp_path: Path) -> None:
    assert tls_host.url == f"https://127.0.0.1:{tls_host.port}"
    trusted = str(tmp_path / "authority.pem")
    for path, size, expected in (
        ("/", 0, (200, "hello")),
        ("/", 3_000_000, (200, "3000000")),
        ("/refused", 30_000_000, (401, "no")),
    ):
        answer = requests.post(
            tls_host.url + path, data=bytes(size), timeout=PATIENCE_S, verify=trusted
        )
        assert (answer.status_code, answer.text) == expected


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02", GET])
def test_handshakes_that_do_not_end_keep_nobody_out(
    tls_host: Host, tmp_path: Path, hello: bytes
) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(2 * MOST_CONNECTIONS):
            opened.enter_context(_connect(tls_host)).sendall(hello)
        _serial_number(tls_host, tmp_path)


def test_handshake_is_cut_off_in_time(app: App, tmp_path: Path, authority: trustme.CA) -> None:
    limits = dataclasses.replace(LIMITS, header_timeout_s=SOON_S)
    files = _certificate(tmp_path, authority, "127.0.0.1")
    host = Host(app, host="127.0.0.1", port=0, limits=limits, tls=files)
    host.start()
    assert _exchange(host, b"\x16\x03\x01\x02") == b""
    host.stop()


def test_stop_ends_handshakes(tls_host: Host) -> None:
    with _connect(tls_host) as connection:
        connection.sendall(b"\x16\x03\x01\x02")
        tls_host.stop()
        assert _read_all(connection) == b""


def test_new_certificate_is_used_for_new_connections(
    tls_host: Host, tmp_path: Path, authority: trustme.CA
) -> None:
    before = _serial_number(tls_host, tmp_path)
    context = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    with context.wrap_socket(_connect(tls_host), server_hostname="127.0.0.1") as open_before:
        _certificate(tmp_path, authority, "127.0.0.1")
        assert _serial_number(tls_host, tmp_path) == before

        tls_host.reload_tls()

        assert _serial_number(tls_host, tmp_path) != before
        open_before.sendall(LAST_GET)
        assert _read_all(open_before).endswith(b"hello")


@pytest.mark.parametrize("file", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate", "of another"])
def test_broken_certificate_is_told_and_the_one_before_is_used(
    tls_host: Host,
    tmp_path: Path,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
    file: str,
    content: bytes | str | None,
) -> None:
    before = _serial_number(tls_host, tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    elif isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    else:
        other = tmp_path_factory.mktemp("other")
        _certificate(other, authority, "127.0.0.1")
        (tmp_path / file).write_bytes((other / file).read_bytes())

    with pytest.raises(errors.AgentStateError, match="cannot use the certificate"):
        tls_host.reload_tls()

    assert _serial_number(tls_host, tmp_path) == before


def test_key_with_a_password_is_refused_without_a_question(
    app: App, tmp_path: Path, authority: trustme.CA
) -> None:
    files = _certificate(tmp_path, authority, "127.0.0.1")
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(errors.AgentStateError, match="the key has a password"):
        Host(app, host="127.0.0.1", port=0, tls=files)
