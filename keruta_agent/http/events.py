"""Server-sent events: the answer that carries them, who listens, and when that ends.

A stream costs no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from starlette.types import Receive, Scope, Send

from keruta_agent.http.bodies import to_json
from keruta_agent.http.problems import Problem

#: Keeps proxies from taking a silent stream for a dead one.
HEARTBEAT: Final = b": heartbeat\n\n"
HEARTBEAT_S: Final = 15.0
#: Milliseconds after which browsers come back to a server that stopped: not all at once.
_COME_BACK_MS: Final = (500, 3000)

#: Of the answer that carries a stream.
STREAM_HEADERS: Final = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    # Proxies would hold events back until their buffer is full.
    "x-accel-buffering": "no",
}
_RAW_HEADERS: Final = [(name.encode(), text.encode()) for name, text in STREAM_HEADERS.items()]

Stream = Callable[[Scope, Receive, Send], Awaitable[None]]
#: Sends a piece of a stream, once the client has taken enough of those before.
Put = Callable[[bytes], Awaitable[None]]


class Listener:
    """One client that listens."""

    def __init__(self, may_listen: Callable[[], bool] | None) -> None:
        """Take a check whether the client is still let in; None where that never ends."""
        #: Set when there is something to send, or the stream is to end.
        self.ready = asyncio.Event()
        self.has_ended = False
        #: What is sent last.
        self.last_frame = b""
        self._may_listen = may_listen

    def is_admitted(self) -> bool:
        """Return whether the client is still let in."""
        return self._may_listen is None or self._may_listen()

    def end(self, last_frame: bytes = b"") -> None:
        """End the stream, with a last frame."""
        self.has_ended = True
        self.last_frame = last_frame
        self.ready.set()


L = TypeVar("L", bound=Listener)


class Listeners(Generic[L]):
    """Those who listen to one application: how many there may be, and when their streams end."""

    def __init__(self, most: int) -> None:
        """Take the number above which further ones are refused."""
        self._most = most
        self._all: set[L] = set()
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[L]:
        return iter(list(self._all))

    def __contains__(self, listener: object) -> bool:
        return listener in self._all

    def check_room(self) -> None:
        """Admit one more.

        Raises:
            Problem: there are too many (503).
        """
        if self._is_stopping or len(self._all) >= self._most:
            raise Problem(
                503,
                "TOO_MANY_STREAMS",
                f"{self._most} event streams are open already",
                headers={"Retry-After": "15"},
            )

    def add(self, listener: L) -> None:
        """Count a listener in."""
        self._all.add(listener)

    def discard(self, listener: L) -> None:
        """Count a listener out."""
        self._all.discard(listener)

    def end_refused(self) -> None:
        """End the streams of clients that are let in no more."""
        for listener in self:
            if not listener.is_admitted():
                listener.end()

    def stop(self) -> None:
        """End all streams, each with a hint when to come back, and open no more."""
        self._is_stopping = True
        for listener in self:
            listener.end(come_back())


def come_back() -> bytes:
    """Return the hint when to come back: not all clients at once."""
    return b"retry: %d\n\n" % random.randint(*_COME_BACK_MS)


@contextlib.asynccontextmanager
async def sending(listener: Listener, receive: Receive, send: Send) -> AsyncIterator[Put]:
    """Answer with a stream for the length of the block, which its last frame ends.

    The listener has ended when the client has left.
    """

    async def put(body: bytes) -> None:
        await send({"type": "http.response.body", "body": body, "more_body": True})

    leaving = asyncio.create_task(_until_gone(receive, listener))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _RAW_HEADERS})
        yield put
        await send({"type": "http.response.body", "body": listener.last_frame})
    finally:
        leaving.cancel()


async def _until_gone(receive: Receive, listener: Listener) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    listener.end()


def frame(identity: str, name: str, payload: Mapping[str, Any]) -> bytes:
    """Return one event as it is sent."""
    return f"id: {identity}\nevent: {name}\ndata: {to_json(payload)}\n\n".encode()


def asked_position(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """Return after which event a client wants to go on, as it says it."""
    return headers.get("Last-Event-ID") or query.get("lastEventId") or None
