"""Server-sent events: the answer that carries them, and a cap on how many there are.

Every stream holds a thread of the server for as long as it lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flask

from keruta_agent.http.bodies import to_json
from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import Problem

#: Keeps proxies from taking a silent stream for a dead one.
HEARTBEAT = b": heartbeat\n\n"
#: Set in the WSGI environment by ``listener.py``: tells whether the client has left.
LEFT_KEY = "keruta.client_has_left"
#: Seconds in which a stream notices that its client has left, and gives its place back.
NOTICE_S = 1.0


class Streams:
    """The count of open streams."""

    def __init__(self, limit: int) -> None:
        self._free = threading.BoundedSemaphore(limit)
        self._limit = limit

    def enter(self) -> None:
        """Take a place.

        Raises:
            Problem: all are taken (503).
        """
        if not self._free.acquire(blocking=False):
            raise Problem(
                503,
                "TOO_MANY_STREAMS",
                f"{self._limit} event streams are open already",
                headers={"Retry-After": "15"},
            )

    def leave(self) -> None:
        """Give the place back."""
        self._free.release()

    @staticmethod
    def is_left() -> Callable[[], bool]:
        """Return what tells whether the client of this request has left, or has logged out."""
        has_left: Callable[[], bool] = flask.request.environ.get(LEFT_KEY, lambda: False)
        is_by_token = "Authorization" in flask.request.headers
        if is_by_token or not page_setup.is_installed() or not page_setup.visitor().known:
            return has_left
        visitor = page_setup.visitor()
        return lambda: has_left() or not visitor.is_logged_in()

    def respond(self, events: Iterator[bytes]) -> flask.Response:
        """Return the answer that carries the events; a place must have been taken for it."""
        response = flask.Response(events, content_type="text/event-stream")
        response.headers["Cache-Control"] = "no-cache"
        # Proxies would hold events back until their buffer is full.
        response.headers["X-Accel-Buffering"] = "no"
        # Not in the generator: one that was never started runs no clean-up.
        response.call_on_close(self.leave)
        return response


def frame(identity: str, name: str, payload: Mapping[str, Any]) -> bytes:
    """Return one event as it is sent."""
    return f"id: {identity}\nevent: {name}\ndata: {to_json(payload)}\n\n".encode()
