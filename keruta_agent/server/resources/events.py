"""Server-sent events: what changes, as it changes, with replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import flask

from keruta_agent.http.streams import HEARTBEAT, NOTICE_S, Streams, frame
from keruta_agent.server.routes import Resource, current_store
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Store

resource = Resource("events", "What changes, as it changes")

PATH = "/api/v1/sessions/realtime/events"

MAX_STREAMS = 64
STREAMS_KEY = "keruta-streams"

#: Seconds.
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


@resource.plain(PATH)
def stream_events() -> flask.Response:
    """Stream the changes of all sessions, or of ``sessionId``; replays after ``Last-Event-ID``."""
    store = current_store()
    session_id = flask.request.args.get("sessionId") or None
    asked = flask.request.headers.get("Last-Event-ID") or flask.request.args.get("lastEventId")
    with store.database.connected():
        newest = store.changes.newest()
    streams: Streams = flask.current_app.extensions[STREAMS_KEY]
    streams.enter()
    start = _first_number(asked, newest)
    return streams.respond(_events(store, session_id, start, streams.is_left()))


def _first_number(asked: str | None, newest: int) -> int:
    """Return the event to begin after. Numbers of another database count as none."""
    if asked is None or not asked.isascii() or not asked.isdecimal() or len(asked) > 18:
        return newest
    return min(int(asked), newest)


def _events(
    store: Store, session_id: str | None, last: int, is_left: Callable[[], bool]
) -> Iterator[bytes]:
    changes = store.changes
    connected = {
        "message": "connected",
        "sessionId": session_id,
        "timestamp": t.now() // 1000,
    }
    yield frame(str(last), "connected", connected)
    look_s = _SHARED_DATABASE_LOOK_S if store.database.postgresql else HEARTBEAT_S
    heartbeat_due = time.monotonic() + HEARTBEAT_S
    while not changes.closed and not is_left():
        generation = changes.generation
        with store.database.connected():
            rows = changes.after(last, session_id, _BATCH)
        for row in rows:
            last = row["number"]
            yield frame(str(last), row["name"], _payload(row))
        if rows:
            heartbeat_due = time.monotonic() + HEARTBEAT_S
            continue
        if time.monotonic() >= heartbeat_due:
            yield HEARTBEAT
            heartbeat_due = time.monotonic() + HEARTBEAT_S
        look_due = min(time.monotonic() + look_s, heartbeat_due)
        while (wait_s := look_due - time.monotonic()) > 0:
            changes.wait(generation, min(wait_s, NOTICE_S))
            if changes.closed or changes.generation != generation or is_left():
                break


def _payload(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "sessionId": row["session_id"],
        "data": t.from_json(row["data"]),
        "timestamp": row["created_at"] // 1000,
    }
