"""Limits of the connections to the daemon's socket.

A script may open the socket in a loop and keep what it has opened. Each connection costs the daemon
a thread and a descriptor, and without descriptors it can neither start a script nor follow one. So
there are never more than a few connections at once. When all places are taken, a new one waits in
the kernel's queue until one is free; clients that have been silent for a moment lose theirs first.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import resource
import socket
import struct
import threading
import time
from typing import Final

from keruta_agent.agent.control.socket import protocol

#: Connections at once; fewer where the process may open but few files.
MOST: Final = 64
#: The share of the descriptors of the process that they may take: one in so many.
_SHARE: Final = 8
#: Seconds in which a client has to send its whole request.
REQUEST_TIMEOUT_S: Final = 10.0
#: Seconds of silence after which a connection makes room for another. Clients connect when they
#: have something to say, and say it at once.
IDLE_S: Final = 0.25
_LOOK_S: Final = 0.05
#: A request of more bytes is large: only so many are received at once, and each in so many seconds.
_LARGE: Final = 256 * 1024
_LARGE_AT_ONCE: Final = 4
_LARGE_TIMEOUT_S: Final = 3.0
_BLOCK: Final = 64 * 1024

_PEER = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Peer:
    """The process at the other end of a unix socket."""

    pid: int
    uid: int


def peer_of(connection: socket.socket) -> Peer:
    """Return the process at the other end, as the kernel knows it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(credentials)
    return Peer(pid=pid, uid=uid)


@dataclasses.dataclass(kw_only=True)
class _Client:
    pid: int
    since: float
    #: Whether its request has come: it is waiting for the answer now.
    was_heard: bool = False


class Connections:
    """The open connections of one socket. Safe to share between threads."""

    def __init__(self, most: int | None = None) -> None:
        self._most = _affordable() if most is None else most
        self._open: dict[socket.socket, _Client] = {}
        self._changed = threading.Condition()
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
        self._is_closed = False

    def admit(self, connection: socket.socket) -> None:
        """Wait until there is a place for a connection, and take it."""
        client = _Client(pid=peer_of(connection).pid, since=time.monotonic())
        with self._changed:
            while len(self._open) >= self._most and not self._is_closed:
                self._make_room()
                self._changed.wait(_LOOK_S)
            client.since = time.monotonic()
            self._open[connection] = client

    def leave(self, connection: socket.socket) -> None:
        """Give back the place of a connection."""
        with self._changed:
            self._open.pop(connection, None)
            self._changed.notify_all()

    def close(self) -> None:
        """End all waits."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> None:
        """Wait until all clients have left whose request has come, in seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: not any(client.was_heard for client in self._open.values()), timeout_s
            )

    def receive(self, connection: socket.socket) -> bytes:
        """Receive one request: a line; what is too long for one comes in part.

        Raises:
            OSError: the client has gone, or takes too long.
        """
        received = bytearray()
        with contextlib.ExitStack() as held:
            deadline = time.monotonic() + REQUEST_TIMEOUT_S
            while len(received) < protocol.LONGEST_REQUEST:
                connection.settimeout(max(_LOOK_S, deadline - time.monotonic()))
                block = connection.recv(_BLOCK)
                received += block
                if not block or block.endswith(b"\n"):
                    break
                if time.monotonic() >= deadline:
                    raise TimeoutError
                if len(received) > _LARGE >= len(received) - len(block):
                    if not self._large.acquire(timeout=REQUEST_TIMEOUT_S):
                        raise TimeoutError
                    held.callback(self._large.release)
                    deadline = time.monotonic() + _LARGE_TIMEOUT_S
        with self._changed:
            if connection in self._open:
                self._open[connection].was_heard = True
        line, line_end, _ = received.partition(b"\n")
        return bytes(line + line_end)

    def _make_room(self) -> None:
        """End the connections that were silent too long, of the client that has the most."""
        limit = time.monotonic() - IDLE_S
        silent = [
            connection
            for connection, client in self._open.items()
            if not client.was_heard and client.since < limit
        ]
        counts = collections.Counter(self._open[connection].pid for connection in silent)
        greediest = counts.most_common(1)[0][0] if counts else None
        for connection in silent:
            if self._open[connection].pid == greediest:
                with contextlib.suppress(OSError):  # it has gone by itself
                    connection.shutdown(socket.SHUT_RDWR)


def _affordable() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if soft == resource.RLIM_INFINITY else max(4, min(MOST, soft // _SHARE))
