"""Connections held until their request is complete: a partial one never occupies a worker.

Threads are few, and one that reads from a client is lost for as long as the client likes. So a
request is looked at without being read (``MSG_PEEK``), and the kernel is told how much more is of
interest (``SO_RCVLOWAT``), as BSD's accept filters do it. Where the kernel does not know how, a
request gets its thread at its second piece.

Bodies that are too large to wait for are read by a few threads, and only if they keep coming. Just
as few threads stand before clients that do not read their answers.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from cheroot import connections, makefile, server

#: Bytes of head and body that are waited for without a thread.
MOST_WAITED: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 32 * 1024
#: Bytes a second, beyond its first seconds, below which a large body is cut off.
SLOWEST: Final = 1000

#: Seconds for which nothing of an answer is taken before its client counts as deaf.
DEAF_S: Final = 0.5

_HEAD_END: Final = b"\r\n\r\n"
#: The WSGI server refuses the line that ends so at once, whatever follows it.
_BARE_LINE_END: Final = re.compile(rb"(?<!\r)\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n")
_OF_A_BODY: Final = re.compile(rb"content-length|transfer-encoding|expect")
#: Needs more than is waited for.
LARGE: Final = -1


def missing(arrived: bytes) -> int:
    """Return how long a request has to be before it can be read without waiting.

    0 when it can be read now; ``LARGE`` when nobody should wait for it.
    """
    end = arrived.find(_HEAD_END)
    if end < 0:
        is_refused = len(arrived) > MAX_HEADER_BYTES or _BARE_LINE_END.search(arrived)
        return 0 if is_refused else len(arrived) + 1
    head = arrived[: end + 2].lower()
    stated = _OF_A_BODY.findall(head)
    if not stated:
        return 0
    length = _LENGTH.search(head)
    # What the WSGI server may read another way than we do counts as large.
    if length is None or len(stated) > 1:
        return LARGE
    size = end + len(_HEAD_END) + int(length[1])
    if size > MOST_WAITED:
        return LARGE
    return 0 if len(arrived) >= size else size


class _WatchedSocket(socket.SocketIO):
    """What has come in, and since when nothing goes out, also in the middle of a call."""

    received = 0
    deaf_since: float | None = None

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        self.received += count or 0
        return count

    def write(self, piece: Any) -> int | None:
        self.deaf_since = time.monotonic()
        try:
            return super().write(piece)
        finally:
            self.deaf_since = None


class _Reader(makefile.StreamReader):
    def __init__(self, source: _WatchedSocket, size: int) -> None:
        super(makefile.StreamReader, self).__init__(source, size)
        self.bytes_read = 0


class _Writer(makefile.StreamWriter):
    def __init__(self, sink: _WatchedSocket, size: int) -> None:
        super(makefile.StreamWriter, self).__init__(sink, size)
        self.bytes_written = 0


class _HeaderReader(server.HeaderReader):
    """Headers without a second length, of which the WSGI server would believe the last."""

    def __init__(self) -> None:
        self._has_length = False

    def _allow_header(self, key_name: bytes) -> bool:
        if key_name == b"Content-Length":
            if self._has_length:
                raise ValueError("Content-Length came twice.")
            self._has_length = True
        return True


class _Request(server.HTTPRequest):
    """A request whose body has one clear end: others are refused, and the connection closed.

    What stands behind such a body would be taken for the next request, which nobody has sent. And
    a negative length would have all that comes read into memory.
    """

    inheaders: dict[bytes, bytes]
    request_protocol: bytes
    close_connection: bool

    def read_request_headers(self) -> bool:
        self.header_reader = _HeaderReader()
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        wrong = self._wrong_length()
        if wrong is None:
            return True
        self.close_connection = True
        self.simple_response("400 Bad Request", wrong)
        return False

    def _wrong_length(self) -> str | None:
        if not self.inheaders.get(b"Content-Length", b"0").isdigit():
            return "Malformed Content-Length Header."
        if b"Transfer-Encoding" not in self.inheaders:
            return None
        if b"Content-Length" in self.inheaders:
            return "A body has either a Content-Length or a Transfer-Encoding."
        if self.request_protocol != b"HTTP/1.1":
            return "This version of HTTP has no Transfer-Encoding."
        return None


class Connection(server.HTTPConnection):
    """A connection that knows whether its next request is whole."""

    RequestHandlerClass = _Request

    server: Any
    rfile: Any
    wfile: Any
    socket: Any
    last_used: float

    def __init__(self, http: Any, connected: Any, make: Any = makefile.MakeFile) -> None:
        super().__init__(http, connected, make)
        self._watched = _WatchedSocket(connected, "rw")
        self.rfile = _Reader(self._watched, self.rbufsize)
        self.wfile = _Writer(self._watched, self.wbufsize)
        self._seen = 0
        self._begun: tuple[float, int] | None = None
        self.is_given_up = False
        http.open_connections.add(self)

    def look(self) -> int:
        """Return what ``missing`` says; looked at again, something new must have come.

        Else the client has ended, or the kernel keeps no more, or does not tell when more comes.
        """
        arrived = self._peek()
        if self._seen == 0:  # its time begins
            self.last_used = time.time()
        elif len(arrived) <= self._seen:
            return LARGE
        self._seen = len(arrived)
        return missing(arrived) if arrived else 0

    def _peek(self) -> bytes:
        buffered: bytes = self.rfile.peek() if self.rfile.has_data() else b""
        try:
            return buffered + self._peek_unread(MOST_WAITED)
        except OSError:  # nothing more has come, or the connection is broken
            return buffered

    def _peek_unread(self, size: int) -> bytes:
        timeout_s = self.socket.gettimeout()
        self.socket.setblocking(False)
        try:
            found: bytes = self.socket.recv(size, socket.MSG_PEEK)
            return found
        finally:
            self.socket.settimeout(timeout_s)

    def is_left(self) -> bool:
        """Return whether the client has gone; for the thread that answers it."""
        try:
            return not self.rfile.has_data() and not self._peek_unread(1)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def wake_at(self, size: int) -> None:
        """Keep the selector silent until this much has come in."""
        kept = len(self.rfile.peek()) if self.rfile.has_data() else 0
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, max(1, size - kept))

    def begin(self) -> None:
        """Note that its request is about to be read."""
        if self._seen:
            self.wake_at(1)
        self._seen = 0

    def begin_large(self) -> None:
        """Note that its large body is about to be read."""
        self._begun = time.monotonic(), self._watched.received

    def is_too_slow(self, patience_s: float) -> bool:
        """Return whether a large body comes so slowly that its thread is wasted on it."""
        if self._begun is None:
            return False
        since, before = self._begun
        earned_s = (self._watched.received - before) / SLOWEST
        return time.monotonic() - since > patience_s + earned_s

    def deaf_s(self) -> float:
        """Return for how many seconds the client has taken nothing of its answer."""
        since = self._watched.deaf_since
        return 0.0 if since is None else time.monotonic() - since

    def give_up(self) -> None:
        """Make room for another connection; the selector sees the end and has this one closed."""
        self.is_given_up = True
        self.server.open_connections.discard(self)
        self.hang_up()

    def hang_up(self) -> None:
        """Shut the connection down, so that reads and writes return."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def communicate(self) -> bool:
        try:
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            if self._begun is not None:
                self._begun = None
                self.server.large.leave(self)

    def close(self) -> None:
        self.server.open_connections.discard(self)
        super().close()
        # Else what a client that has left did not take would be written to the closed socket once
        # more when it is freed, and Python 3.13 prints a traceback for that.
        self.wfile.raw.close()


class LargeBodies:
    """Requests with large bodies: a few are read at once, the others wait without a thread."""

    def __init__(self, places: int, read: Callable[[Connection], None]) -> None:
        self._guard = threading.Lock()
        self._places = places
        self._read = read
        self._being_read: set[Connection] = set()
        self._waiting: collections.deque[Connection] = collections.deque()

    def enter(self, connection: Connection) -> None:
        """Dispatch a request as soon as a place is free."""
        with self._guard:
            self._waiting.append(connection)
        self._read_next()

    def leave(self, connection: Connection) -> None:
        """Give the place of a request that was read to the next one."""
        with self._guard:
            self._being_read.discard(connection)
        self._read_next()

    def _read_next(self) -> None:
        with self._guard:
            if not self._waiting or len(self._being_read) >= self._places:
                return
            connection = self._waiting.popleft()
            self._being_read.add(connection)
        connection.begin_large()
        self._read(connection)

    def cut_off_slow(self, patience_s: float) -> None:
        """End bodies that hardly come."""
        with self._guard:
            slow = [each for each in self._being_read if each.is_too_slow(patience_s)]
        for connection in slow:
            connection.hang_up()

    def waiting(self) -> list[Connection]:
        """Return those that wait for a place."""
        with self._guard:
            return list(self._waiting)

    def drop(self, connection: Connection) -> None:
        """Close one that waits for a place, if it still does."""
        with self._guard:
            if connection not in self._waiting:
                return
            self._waiting.remove(connection)
        connection.close()


class Connections(connections.ConnectionManager):
    """The queue of connections: a thread gets one only when something came in on it.

    Else as many silent connections as there are threads would keep everybody out. Where there are
    too many, the one that has stood still the longest makes room for the new one.
    """

    server: Any
    _selector: Any

    def wait_for(self, connection: Connection, size: int) -> None:
        """Wait, without a thread, until a request is this long."""
        connection.wake_at(size)
        number = connection.socket.fileno()
        self._selector.register(number, selectors.EVENT_READ, data=connection)

    def _from_server_socket(self, server_socket: socket.socket) -> None:
        try:
            connection = super()._from_server_socket(server_socket)  # type: ignore[misc]
        except OSError as exc:
            if exc.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            # Raised, it would be again and again, without a pause.
            self._make_room()
            return
        if connection is None:
            return
        if len(self.server.open_connections) > self.server.most_connections:
            self._make_room()
        if len(self.server.open_connections) > self.server.most_connections:
            connection.close()
        else:
            self.put(connection)

    def _make_room(self) -> None:
        waiting = self.server.large.waiting()
        silent = list(self._silent())
        oldest = min([*silent, *waiting], key=lambda each: each.last_used, default=None)
        if oldest in waiting:
            self.server.large.drop(oldest)
        elif oldest is not None:
            oldest.give_up()

    def _silent(self) -> Iterator[Connection]:
        for _, connection in self._selector.connections:
            if connection is not self.server and not connection.is_given_up:
                yield connection

    def _expire(self, threshold: float) -> None:
        super()._expire(threshold)  # type: ignore[misc]
        for connection in self.server.large.waiting():
            if connection.last_used < threshold:
                self.server.large.drop(connection)
        self.server.large.cut_off_slow(self.server.timeout)
        self._cut_off_deaf()

    def _cut_off_deaf(self) -> None:
        found = [(each.deaf_s(), each) for each in list(self.server.open_connections)]
        deaf = [each for each in found if each[0] > DEAF_S]
        deaf.sort(key=lambda each: each[0], reverse=True)
        for _, connection in deaf[: max(0, len(deaf) - self.server.slow_clients)]:
            connection.hang_up()

    def close(self) -> None:
        super().close()
        for connection in self.server.large.waiting():
            self.server.large.drop(connection)
