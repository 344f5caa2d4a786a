"""A small application behind an HTTP host, and raw connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import Any

from keruta_agent.http.serving.host import Host
from keruta_agent.http.serving.limits import Limits

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


HALVES = [
    b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nhalf",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf",
    GET + b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
]


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


def connect(host: Host, source: str = "127.0.0.1") -> socket.socket:
    """Open a connection, from an address of the loopback."""
    return socket.create_connection(
        ("127.0.0.1", host.port), timeout=PATIENCE_S, source_address=(source, 0)
    )


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the end."""
    received = b""
    with contextlib.suppress(ConnectionError):  # it was closed with unread bytes
        while block := connection.recv(1 << 20):
            received += block
    return received


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes until this has come."""
    received = b""
    while not received.endswith(end):
        block = connection.recv(1000)
        assert block, f"closed after {received!r}"
        received += block
    return received


def send(connection: socket.socket, data: bytes) -> None:
    """Send all of it, or what the server still takes."""
    with contextlib.suppress(ConnectionError):  # it was closed in the meantime
        connection.sendall(data)


def exchange(host: Host, request: bytes) -> bytes:
    """Send a request and return what comes until the end."""
    with connect(host) as connection:
        send(connection, request)
        return read_all(connection)


def status_of(answer: bytes) -> int:
    """Return the status of an answer."""
    return int(answer.split(b" ", 2)[1])


def is_cut_off_while_it_drips(connection: socket.socket, piece: bytes) -> bool:
    """Send a little again and again; return whether the server ends it in time."""
    connection.settimeout(SOON_S / 5)
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            connection.sendall(piece)
            with contextlib.suppress(TimeoutError):
                while connection.recv(1000):
                    pass
                return True
        except ConnectionError:
            return True
    return False
