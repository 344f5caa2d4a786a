"""Server-sent events: what changes, as it changes, with replay (contract 3.18).

Every stream holds a thread of the server for as long as it lives, so their number is capped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import flask

from keruta_agent.server import tables as t
from keruta_agent.server.problems import Problem
from keruta_agent.server.routes import Resource, current_store
from keruta_agent.server.store import Store

resource = Resource("events", "What changes, as it changes")

PATH = "/api/v1/sessions/realtime/events"

MAX_STREAMS = 64
STREAMS_KEY = "keruta-streams"

#: Seconds; a client that went away is noticed when this cannot be sent.
HEARTBEAT_S = 15.0
#: Seconds between looks where another server may write into the same database.
_SHARED_DATABASE_LOOK_S = 1.0
_BATCH = 500


_TEXT = {"type": "string"}
DOCUMENTATION = {
    "get": {
        "tags": [resource.name],
        "summary": "Streams changes as server-sent events; replays those after Last-Event-ID.",
        "description": (
            "First comes `connected`; then `session_created`, `session_update`,"
            " `session_deleted`, `task_created`, `task_update`, `task_deleted` and `task_logs`,"
            " each with an id and as data `sessionId`, `data` and `timestamp`."
        ),
        "parameters": [
            {"in": "query", "name": "sessionId", "schema": _TEXT},
            {"in": "query", "name": "lastEventId", "schema": _TEXT},
            {"in": "header", "name": "Last-Event-ID", "schema": _TEXT},
        ],
        "responses": {
            "200": {"description": "OK", "content": {"text/event-stream": {"schema": _TEXT}}},
            "default": {"$ref": "#/components/responses/DEFAULT_ERROR"},
        },
    }
}


class Streams:
    """Counts the open streams."""

    def __init__(self, limit: int = MAX_STREAMS) -> None:
        self._free = threading.BoundedSemaphore(limit)
        self._limit = limit

    def enter(self) -> None:
        """Takes a place.

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
        """Gives the place back."""
        self._free.release()


@resource.plain(PATH)
def stream_events() -> flask.Response:
    """Streams the changes of all sessions, or of ``sessionId``; replays after ``Last-Event-ID``."""
    store = current_store()
    session_id = flask.request.args.get("sessionId") or None
    asked = flask.request.headers.get("Last-Event-ID") or flask.request.args.get("lastEventId")
    with store.database.connected():
        newest = store.changes.newest()
    streams: Streams = flask.current_app.extensions[STREAMS_KEY]
    streams.enter()
    start = _first_number(asked, newest)
    response = flask.Response(_events(store, session_id, start), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    # Proxies would hold events back until their buffer is full.
    response.headers["X-Accel-Buffering"] = "no"
    # Not in the generator: one that was never started runs no clean-up.
    response.call_on_close(streams.leave)
    return response


def _first_number(asked: str | None, newest: int) -> int:
    """Returns the event to begin after. Numbers of another database count as none."""
    if asked is None or not asked.isascii() or not asked.isdecimal() or len(asked) > 18:
        return newest
    return min(int(asked), newest)


def _events(store: Store, session_id: str | None, last: int) -> Iterator[bytes]:
    changes = store.changes
    connected = {
        "message": "connected",
        "sessionId": session_id,
        "timestamp": t.now() // 1000,
    }
    yield _frame(last, "connected", connected)
    look_s = _SHARED_DATABASE_LOOK_S if store.database.postgresql else HEARTBEAT_S
    heartbeat_due = time.monotonic() + HEARTBEAT_S
    while not changes.closed:
        generation = changes.generation
        with store.database.connected():
            rows = changes.after(last, session_id, _BATCH)
        for row in rows:
            last = row["number"]
            yield _frame(last, row["name"], _payload(row))
        if rows:
            heartbeat_due = time.monotonic() + HEARTBEAT_S
            continue
        if time.monotonic() >= heartbeat_due:
            yield b": heartbeat\n\n"
            heartbeat_due = time.monotonic() + HEARTBEAT_S
        changes.wait(generation, min(look_s, heartbeat_due - time.monotonic()))


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "sessionId": row["session_id"],
        "data": t.from_json(row["data"]),
        "timestamp": row["created_at"] // 1000,
    }


def _frame(number: int, name: str, payload: dict[str, Any]) -> bytes:
    return f"id: {number}\nevent: {name}\ndata: {t.to_json(payload)}\n\n".encode()
