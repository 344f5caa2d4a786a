"""HTTP/1.1 over bare asyncio protocols: what measures must cost less than what is measured.

A client library takes a millisecond of processor for a request, as much as the server does. Like
this one process sends what a thousand agents send.
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple, cast

#: Longest wait for an answer; an agent waits as long.
ANSWER_TIMEOUT_S = 30.0
#: Whole lists of a million rows take minutes on servers without pages.
LIST_TIMEOUT_S = 300.0
_HEAD_END = b"\r\n\r\n"


class Answer(NamedTuple):
    """What a server answered, and when."""

    status: int
    body: bytes
    #: Bytes of the body, also of one that was not kept.
    size: int
    #: Seconds from sending the request to the first byte, and to the last.
    first_byte_s: float
    took_s: float


class AnswerReader:
    """Takes an answer apart as it arrives: of a given length, in chunks, or to the very end."""

    def __init__(self) -> None:
        self.status = 0
        #: The head in lower case, empty until all of it is here.
        self.head = b""
        self.is_complete = False
        self._held = bytearray()
        self._is_chunked = False
        self._is_behind_chunk = False
        #: Bytes that are missing of the body, or of its present chunk; None: until the end.
        self._missing: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what the data bring of the body."""
        if self.head:
            return self._body(data)
        self._held += data
        end = self._held.find(_HEAD_END)
        if end < 0:
            return b""
        self.head = bytes(self._held[: end + 2]).lower()
        rest = bytes(self._held[end + 4 :])
        self._held.clear()
        self._read_head()
        return self._body(rest)

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body has no other end than that of the connection."""
        return bool(self.head) and not self._is_chunked and self._missing is None

    def _read_head(self) -> None:
        self.status = int(self.head[9:12])
        self._is_chunked = b"\r\ntransfer-encoding: chunked" in self.head
        _, found, value = self.head.partition(b"\r\ncontent-length:")
        if self.status in (204, 304) or self._is_chunked:
            self._missing = 0
        elif found:
            self._missing = int(value.partition(b"\r\n")[0])
        self.is_complete = self._missing == 0 and not self._is_chunked

    def _body(self, data: bytes) -> bytes:
        if self._is_chunked:
            return self._chunks(data)
        if self._missing is None:
            return data
        self._missing -= len(data)
        self.is_complete = self._missing <= 0
        return data

    def _chunks(self, data: bytes) -> bytes:
        held, pieces = self._held, []
        held += data
        while not self.is_complete:
            if self._missing:
                piece = bytes(held[: self._missing])
                del held[: self._missing]
                self._missing -= len(piece)
                pieces.append(piece)
                if self._missing:
                    break
            start = 2 if self._is_behind_chunk else 0
            end = held.find(b"\r\n", start)
            if end < 0:
                break
            size = int(held[start:end].partition(b";")[0], 16)
            if size == 0:
                self.is_complete = len(held) >= end + 4
                break
            del held[: end + 2]
            self._missing, self._is_behind_chunk = size, True
        return b"".join(pieces)


class _Exchange(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._reader = AnswerReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def send(self, request: bytes, *, keep: bool) -> asyncio.Future[Answer]:
        """Send a request; the answer follows."""
        assert self._transport is not None
        self._reader = AnswerReader()
        self._pieces: list[bytes] = []
        self._keep, self._size, self._first_byte_s = keep, 0, 0.0
        self._answered = asyncio.get_running_loop().create_future()
        self._sent_at = time.perf_counter()
        self._transport.write(request)
        return self._answered

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._answered is None:
            return
        if not self._first_byte_s:
            self._first_byte_s = time.perf_counter() - self._sent_at
        piece = self._reader.feed(data)
        self._size += len(piece)
        if self._keep:
            self._pieces.append(piece)
        if self._reader.is_complete:
            self._finish()

    def _finish(self) -> None:
        answered, self._answered = self._answered, None
        if answered is None or answered.done():
            return
        took_s = time.perf_counter() - self._sent_at
        body = b"".join(self._pieces)
        answered.set_result(
            Answer(self._reader.status, body, self._size, self._first_byte_s, took_s)
        )
        if b"\r\nconnection: close" in self._reader.head:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._reader.ends_with_connection:
            self._finish()
        elif self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionResetError("closed without an answer"))


class Client:
    """Requests one after another over one connection, which is opened anew when it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._exchange = _Exchange()
        #: Connections so far; more than one when the server closes those that are idle.
        self.opened = 0

    async def ask(
        self, request: bytes, *, keep: bool = True, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> Answer:
        """Send a request and return its answer; without ``keep`` its body is only counted.

        Raises:
            OSError: there is none, because of the connection or the time.
        """
        begun = time.perf_counter()
        was_open = self._exchange.is_open
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    answer = await self._ask(request, keep)
                except ConnectionError:
                    if not was_open:
                        raise
                    answer = await self._ask(request, keep)
        except TimeoutError:
            self.close()
            raise
        return answer._replace(took_s=time.perf_counter() - begun)

    async def _ask(self, request: bytes, keep: bool) -> Answer:
        if not self._exchange.is_open:
            loop = asyncio.get_running_loop()
            _, self._exchange = await loop.create_connection(_Exchange, *self._address)
            self.opened += 1
        return await self._exchange.send(request, keep=keep)

    def close(self) -> None:
        """Close the connection."""
        self._exchange.close()
