"""One connection of an HTTP host: uvicorn's protocol, with a bound to everything a client can do.

uvicorn bounds the idle time between two requests and nothing else, and llhttp accepts requests
whose end two servers would see in different places. So this class has a deadline for each state of
a connection, counts what comes, and refuses heads that can be read in two ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from collections.abc import Iterable
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from keruta_agent.http.problems import CODES, Problem
from keruta_agent.http.serving.connections import Connections, Waiting, network
from keruta_agent.http.serving.exchange import Exchange, encode
from keruta_agent.http.serving.limits import Limits

_VERSIONS: Final = frozenset({"1.0", "1.1"})
#: What stands around the name and the value of a header: a colon, a space and the line's end.
_AROUND_A_HEADER: Final = 4


class HttpProtocol(HttpToolsProtocol):
    """A connection and its requests, one after the other."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        address: Any = None,
        connections: Connections,
        limits: Limits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.peer = network(address[0]) if address else ""
        #: Takes the connection over; it alone can end one that shakes hands.
        self.connecting: asyncio.Task[None] | None = None
        self._limits = limits
        self._all = connections
        now = self.loop.time()
        self.heard_at = now
        #: Since when the present head, or the next request, is waited for.
        self._waits_since = now
        self._in_head = False
        self._head_bytes = 0
        self._incomplete_bytes = 0
        self._refusal: Problem | None = None
        #: The answer to what came after requests that are not answered yet.
        self._next_answer: Problem | None = None
        self._credit_s = 0.0
        self._received = 0
        self._checked_at = now
        self._unsent: int | None = None
        self._unread_since = now
        self._lingers_since: float | None = None
        self._ignored_bytes = 0

    # Called by the transport.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=self._limits.write_buffer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, and tell the application."""
        super().connection_lost(exc)
        self._all.discard(self)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        if self.transport.is_closing():
            return
        self.heard_at = self.loop.time()
        if self._lingers_since is not None or self._next_answer is not None:
            self._ignore(len(data))
            return
        self._received += len(data)
        was_in_head = self._in_head or self.cycle is None
        self._incomplete_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse(self._refusal or _refusal(400, "this is no request in HTTP/1.1"))
            return
        self._bound_incomplete(was_in_head)

    def pause_writing(self) -> None:
        """Note that the client does not keep up."""
        super().pause_writing()
        self._unsent = None

    def resume_writing(self) -> None:
        """Note that it does again."""
        super().resume_writing()
        self._unsent = None

    def shutdown(self) -> None:
        """End as soon as the request in flight is answered."""
        if self._lingers_since is not None:
            self.transport.close()
        else:
            super().shutdown()

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Begin the head of a request."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._waits_since = self.loop.time()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, and forget one that stands behind the body.

        Behind the body, it would be added to those that the application has decided on.
        """
        self._count_head(len(name) + len(value) + _AROUND_A_HEADER)
        if not self._in_head:
            return
        if len(self.headers) >= self._limits.header_count:
            self._fail(_refusal(431, f"more than {self._limits.header_count} headers"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, if the request can be read in one way only."""
        problem = self._ambiguity()
        if problem is None and len(self.pipeline) >= self._limits.pipelined_requests:
            problem = _refusal(400, "too many requests came before their answers")
        if problem is not None:
            self._fail(problem)
        super().on_headers_complete()
        self._in_head = False
        self._head_bytes = 0
        self._incomplete_bytes = 0
        self._credit_s = self._limits.body_grace_s
        self._received = 0
        self._checked_at = self.loop.time()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        super().on_body(body)
        self._incomplete_bytes = 0

    def _unsupported_upgrade_warning(self) -> None:
        """Write no line that each stranger could have written."""

    # A request and its answer.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, Exchange(app, cycle, self._limits))

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._waits_since = self.loop.time()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.flow.resume_reading()
        if self._next_answer is not None:
            problem, self._next_answer = self._next_answer, None
            self._refuse(problem)

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    # Called by the host.

    @property
    def is_new(self) -> bool:
        """Whether no request has come on it yet."""
        return self.cycle is None and self._lingers_since is None

    @property
    def waiting(self) -> Waiting | None:
        """What it waits for its client for."""
        if self.transport is None or self.cycle is None or self._lingers_since is not None:
            return Waiting.FOR_A_HEAD
        if not self._is_busy:
            return Waiting.FOR_A_HEAD if self._in_head else Waiting.IDLE
        if not self.cycle.more_body or self.flow.read_paused:
            return None
        # A body that was refused already is worth as little as half a head.
        return Waiting.FOR_A_HEAD if self.cycle.response_started else Waiting.FOR_A_BODY

    def abort(self) -> None:
        """Close the connection now, whatever is unsent."""
        if self.transport is not None:
            self.transport.abort()
        elif self.connecting is not None:
            self.connecting.cancel()

    def check(self, now: float) -> None:
        """Close the connection, if its time is up."""
        if self.transport is None:  # the handshake has a time limit of its own
            return
        if self._is_unread(now):
            self._reset()
        elif self._has_lingered(now):
            self.transport.abort()
        elif self.transport.is_closing() or self._lingers_since is not None:
            return
        elif self._is_busy:
            self._check_body(now)
        elif self._in_head:
            if now - self._waits_since > self._limits.header_timeout_s:
                self._refuse(_refusal(408, "the head of the request did not come in time"))
        elif now - self._waits_since > self._idle_timeout_s():
            self.transport.close()

    def _idle_timeout_s(self) -> float:
        if self.cycle is None:
            return self._limits.header_timeout_s
        return self._limits.idle_timeout_s

    def _check_body(self, now: float) -> None:
        elapsed_s = now - self._checked_at
        self._checked_at = now
        earned_s = self._received / self._limits.slowest_body
        self._received = 0
        if not self.cycle.more_body:
            return
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            elapsed_s = 0.0  # it is the application that takes its time
        self._credit_s = min(self._credit_s + earned_s, self._limits.body_grace_s) - elapsed_s
        if self._credit_s < 0:
            self._refuse(_refusal(408, "the body of the request came too slowly"))

    def _is_unread(self, now: float) -> bool:
        if not (self.flow.write_paused or self.transport.is_closing()):
            return False
        unsent = self._count_unsent()
        if unsent != self._unsent:
            self._unsent = unsent
            self._unread_since = now
        return now - self._unread_since > self._limits.unread_timeout_s

    def _count_unsent(self) -> int:
        """Return how much the client has not taken, of what the kernel keeps for it, too.

        The kernel reports no progress before a third of its megabytes are free: a slow reader
        would look like a deaf one for minutes.
        """
        unsent = self.transport.get_write_buffer_size()
        handle = self.transport.get_extra_info("socket").fileno()
        if handle < 0:
            return unsent
        kept: tuple[int] = struct.unpack("i", fcntl.ioctl(handle, termios.TIOCOUTQ, bytes(4)))
        return unsent + kept[0]

    def _reset(self) -> None:
        """Close the connection, and have the kernel forget what it keeps for the client."""
        with contextlib.suppress(OSError):  # it has ended already
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self.transport.abort()

    # Refusals.

    def _count_head(self, count: int) -> None:
        self._head_bytes += count
        if self._head_bytes > self._limits.header_bytes:
            self._fail(self._too_large())

    def _bound_incomplete(self, was_in_head: bool) -> None:
        """Bound what the parser keeps to itself: half a header, or what stands between chunks."""
        if self._in_head and not was_in_head:
            # What came before in the same piece belonged to a body.
            self._incomplete_bytes = 0
        if self._incomplete_bytes > self._limits.header_bytes:
            self._refuse(self._too_large())

    def _too_large(self) -> Problem:
        return _refusal(431, f"the headers are longer than {self._limits.header_bytes} bytes")

    def _fail(self, problem: Problem) -> None:
        """Have the parser give up."""
        self._refusal = problem
        raise httptools.HttpParserError(problem.message)

    def _ambiguity(self) -> Problem | None:
        """Return why two servers could read this request in two ways."""
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            return _refusal(505, f"HTTP/{version} is not spoken here, but HTTP/1.1")
        hosts = list(self._values(b"host"))
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            return _refusal(400, "a request has one Host header")
        codings = list(self._values(b"transfer-encoding"))
        if codings and (version == "1.0" or [each.lower() for each in codings] != [b"chunked"]):
            return _refusal(400, "the only Transfer-Encoding is chunked, in HTTP/1.1")
        if self.url.startswith(b"/"):
            return None
        scheme, _, rest = self.url.partition(b"://")
        authority, slash, _ = rest.partition(b"/")
        if scheme.lower() not in (b"http", b"https") or not slash or [authority] != hosts:
            return _refusal(400, "the target is a path, or an address with the name of its Host")
        return None

    def _values(self, wanted: bytes) -> Iterable[bytes]:
        return (value for name, value in self.headers if name == wanted)

    def _refuse(self, problem: Problem) -> None:
        """Answer with a refusal, after the requests that came before, and close."""
        if self._is_busy:
            if self._in_head or self.pipeline:
                self._next_answer = problem
                if not self._in_head:  # its body is wrong, and it was not begun
                    self.pipeline.popleft()
                    self.cycle.response_complete = True
                return
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._write(problem)
        self._lingers_since = self.loop.time()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _write(self, problem: Problem) -> None:
        body = encode(problem)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))

    def _ignore(self, count: int) -> None:
        self._ignored_bytes += count
        if self._ignored_bytes > self._limits.drained_bytes:
            self.transport.abort()

    def _has_lingered(self, now: float) -> bool:
        return self._lingers_since is not None and now - self._lingers_since > self._limits.linger_s


def _refusal(status: int, message: str) -> Problem:
    return Problem(status, CODES[status], message)
