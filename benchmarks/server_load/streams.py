"""Event streams as agents hold them, by the thousand in one process."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import cast

from benchmarks.server_load.agent_requests import Requests
from benchmarks.server_load.connection import ANSWER_TIMEOUT_S, AnswerReader

#: Streams that are opened at once: more than a listen queue holds would wait for a second.
_OPENED_AT_ONCE = 50

#: What is called with an event's text and the moment of its arrival.
Listener = Callable[[bytes, float], None]


class EventStream(asyncio.Protocol):
    """One stream of a session's events."""

    def __init__(self, request: bytes, listener: Listener | None) -> None:
        self._request = request
        self._listener = listener
        self._reader = AnswerReader()
        self._held = b""
        self._transport: asyncio.Transport | None = None
        #: The status of the answer; 0 when the server closed without one.
        self.opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.is_open = False
        self.events = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        text = self._reader.feed(data)
        if self._reader.head and not self.opened.done():
            self.is_open = self._reader.status == 200
            self.opened.set_result(self._reader.status)
            if not self.is_open:
                self.close()
        if self.is_open and text:
            self._hear(text, now)

    def _hear(self, text: bytes, now: float) -> None:
        *events, self._held = (self._held + text).split(b"\n\n")
        for event in events:
            if b"data:" not in event:  # a heartbeat
                continue
            self.events += 1
            if self._listener is not None:
                self._listener(event, now)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if not self.opened.done():
            self.opened.set_result(0)

    def close(self) -> None:
        """Leave the stream."""
        if self._transport is not None:
            self._transport.close()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streams:
    """The streams of many sessions; those that the server refused are among them, closed."""

    all: Sequence[EventStream]
    #: Those that were open once.
    accepted: int

    @property
    def refused(self) -> int:
        """How many the server did not open."""
        return len(self.all) - self.accepted

    @property
    def broken(self) -> int:
        """How many were open and are no longer."""
        return self.accepted - sum(stream.is_open for stream in self.all)

    @property
    def events(self) -> int:
        """Events of all streams so far."""
        return sum(stream.events for stream in self.all)

    def close(self) -> None:
        """Leave all of them."""
        for stream in self.all:
            stream.close()


async def open_streams(
    requests: Requests, session_ids: Sequence[str], listeners: Sequence[Listener] | None = None
) -> Streams:
    """Open a stream of each session; one that is refused is not asked for again."""
    places = asyncio.Semaphore(_OPENED_AT_ONCE)

    async def open_one(number: int) -> EventStream:
        request = requests.stream(session_ids[number])
        listener = None if listeners is None else listeners[number]
        async with places:
            _, stream = await asyncio.get_running_loop().create_connection(
                lambda: EventStream(request, listener), requests.host, requests.port
            )
            try:
                await asyncio.wait_for(asyncio.shield(stream.opened), ANSWER_TIMEOUT_S)
            except TimeoutError:
                stream.close()
        return stream

    opened = await asyncio.gather(*(open_one(number) for number in range(len(session_ids))))
    accepted = sum(stream.opened.done() and stream.opened.result() == 200 for stream in opened)
    return Streams(all=opened, accepted=accepted)
