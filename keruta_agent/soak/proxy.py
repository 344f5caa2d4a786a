"""A proxy between agent and API, as unreliable as networks and servers are.

The proxy is in one condition at a time. When that changes, all connections are cut, some of them
in the middle of a request or an answer.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import random
import re
import select
import socket
import struct
import threading
import time
from typing import Final

#: Bytes that are passed on at once.
BLOCK: Final = 16 * 1024
#: Seconds between looks whether the condition has changed.
LOOK_S: Final = 0.05
#: Seconds that are spent on reading a request that will be refused.
REQUEST_TIMEOUT_S: Final = 1.0


class Condition(enum.StrEnum):
    """How the API appears to the agent."""

    WELL = "well"
    #: Connections are refused.
    DOWN = "down"
    #: Everything takes its time, some of it longer than the agent waits.
    SLOW = "slow"
    #: Connections are taken, and nothing ever comes back.
    SILENT = "silent"
    #: 503 with Retry-After.
    BUSY = "busy"
    #: 500.
    BROKEN = "broken"
    #: A proxy's web page, with 200.
    HTML = "html"
    #: The request arrives; the connection breaks in the middle of the answer.
    CUTTING = "cutting"


_ANSWERS: Final = {
    Condition.BUSY: (b"503 Service Unavailable", b"Retry-After: 1\r\n", b""),
    Condition.BROKEN: (b"500 Internal Server Error", b"", b""),
    Condition.HTML: (b"200 OK", b"Content-Type: text/html\r\n", b"<html>maintenance</html>"),
}


class FlakyProxy:
    """A proxy that forwards connections to one server as its condition allows."""

    def __init__(self, target: tuple[str, int], seed: int) -> None:
        self._target = target
        self._random = random.Random(f"{seed}/proxy")
        self._condition = Condition.WELL
        self._epoch = 0
        self._guard = threading.Lock()
        self._stopping = False
        #: How often each condition came.
        self.conditions: collections.Counter[Condition] = collections.Counter()
        # Bound and never listened on: keeps the port while connections are to be refused.
        self._reservation = _bound(("127.0.0.1", 0))
        self._address: tuple[str, int] = self._reservation.getsockname()
        self._listener: socket.socket | None = None
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where the agent finds the API."""
        return f"http://{self._address[0]}:{self._address[1]}"

    @property
    def is_running(self) -> bool:
        """Whether connections are taken."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to take connections."""
        self._open_listener()
        self._thread.start()

    def stop(self) -> None:
        """Cut all connections and end."""
        self._stopping = True
        self.set_condition(Condition.DOWN)
        self._thread.join()
        self._reservation.close()

    def set_condition(self, condition: Condition) -> None:
        """Change the condition; what is connected is cut."""
        with self._guard:
            if condition is self._condition:
                return
            self._condition = condition
            self._epoch += 1
            self.conditions[condition] += 1

    def _accept(self) -> None:
        while not self._stopping:
            if self._condition is Condition.DOWN:
                self._close_listener()
                time.sleep(LOOK_S)
                continue
            with contextlib.suppress(TimeoutError):
                client, _ = self._open_listener().accept()
                with self._guard:
                    condition, epoch = self._condition, self._epoch
                threading.Thread(
                    target=self._serve, args=(client, condition, epoch), name="proxy", daemon=True
                ).start()
        self._close_listener()

    def _open_listener(self) -> socket.socket:
        if self._listener is None:
            self._listener = _bound(self._address)
            self._listener.listen(64)
            self._listener.settimeout(LOOK_S)
        return self._listener

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _serve(self, client: socket.socket, condition: Condition, epoch: int) -> None:
        """Live one connection's life; a broken one is what this is about."""
        with contextlib.suppress(OSError), contextlib.closing(client):
            client.setblocking(True)
            if condition in _ANSWERS:
                self._answer(client, condition)
            elif condition is Condition.DOWN:
                pass  # it changed between the kernel's answer and ours
            elif condition is Condition.SILENT:
                while self._epoch == epoch:
                    time.sleep(LOOK_S)
            else:
                with contextlib.closing(socket.create_connection(self._target, 5.0)) as server:
                    if self._pass_on(client, server, condition, epoch):
                        return
            _break(client)

    def _answer(self, client: socket.socket, condition: Condition) -> None:
        client.settimeout(REQUEST_TIMEOUT_S)
        _read_request(client)
        status, header, body = _ANSWERS[condition]
        length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        client.sendall(b"HTTP/1.1 " + status + b"\r\n" + header + length + body)
        client.shutdown(socket.SHUT_WR)
        # Closed by the other side first, or the answer might be lost with a reset.
        with contextlib.suppress(TimeoutError):
            while client.recv(BLOCK):
                pass

    def _pass_on(
        self, client: socket.socket, server: socket.socket, condition: Condition, epoch: int
    ) -> bool:
        """Pass on until one side ends or it is cut; return whether the end was in order."""
        left = self._random.randrange(1, 400) if condition is Condition.CUTTING else None
        while self._epoch == epoch:
            readable, _, _ = select.select([client, server], [], [], LOOK_S)
            for source in readable:
                data = source.recv(BLOCK)
                if not data:
                    return True
                if condition is Condition.SLOW:
                    time.sleep(self._random.choice((0.02, 0.1, 0.4, 1.2)))
                if source is client:
                    server.sendall(data)
                    continue
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                client.sendall(data)
                if left == 0:
                    return False
        return False


def _bound(address: tuple[str, int]) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(address)
    return found


def _break(connection: socket.socket) -> None:
    """Make the close that follows a reset: the other side sees a broken connection."""
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _read_request(client: socket.socket) -> None:
    """Read one request, as far as it comes."""
    with contextlib.suppress(TimeoutError):
        data = b""
        while b"\r\n\r\n" not in data:
            block = client.recv(BLOCK)
            if not block:
                return
            data += block
        head, _, body = data.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        left = (int(found.group(1)) if found else 0) - len(body)
        while left > 0:
            block = client.recv(BLOCK)
            if not block:
                return
            left -= len(block)
