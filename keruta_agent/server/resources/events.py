"""Server-sent events: what changes, as it changes, with replay."""

from __future__ import annotations

import functools
from typing import Any, Final

from keruta_agent.http.events import Stream, asked_position, frame
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request
from keruta_agent.server.access import scopes
from keruta_agent.server.access.principals import principal_of
from keruta_agent.server.routes import Resource, store_of
from keruta_agent.server.store import tables as t

resource = Resource("events", "What changes, as it changes")

PATH: Final = "/api/v1/sessions/realtime/events"

#: Sessions that one stream may be about; more are asked for as all.
MOST_SESSIONS: Final = 50

#: What a stream is about that is to hear nothing: to name no topic is to hear all.
_NO_SESSION: Final = ("",)
_TEXT: Final = {"type": "string"}
_DOCUMENTATION: Final[dict[str, Any]] = {
    "description": (
        "First comes `connected`; then `session_created`, `session_update`,"
        " `session_deleted`, `task_created`, `task_update`, `task_deleted` and `task_logs`,"
        " each with an id and as data `sessionId`, `data` and `timestamp`."
    ),
    "parameters": [
        {
            "in": "query",
            "name": "sessionId",
            "schema": {"type": "array", "items": _TEXT, "maxItems": MOST_SESSIONS},
            "description": "Only what changes in these sessions; it may be repeated.",
        },
        {"in": "query", "name": "lastEventId", "schema": _TEXT},
        {"in": "header", "name": "Last-Event-ID", "schema": _TEXT},
    ],
    "responses": {
        "200": {"description": "OK", "content": {"text/event-stream": {"schema": _TEXT}}},
    },
}


@resource.stream(PATH, doc=_DOCUMENTATION)
async def stream_events(request: Request) -> Stream:
    """Stream changes as server-sent events; replay those after ``Last-Event-ID``."""
    store = store_of(request)
    sessions = {each for each in request.query_params.getlist("sessionId") if each}
    if len(sessions) > MOST_SESSIONS:
        raise invalid(
            "sessionId", f"at most {MOST_SESSIONS} sessions may be named, or none for all"
        )
    session_id = next(iter(sessions)) if len(sessions) == 1 else None
    scope = principal_of(request).scope
    find = functools.partial(scopes.heard_sessions, scope, store.database, sorted(sessions))
    topics = await request.app.run(find)
    workspaces = scopes.heard_workspaces(scope, sorted(sessions))
    newest = await request.app.run(store.changes.newest)
    after = _first_number(asked_position(request.headers, request.query_params), newest)
    connected = {"message": "connected", "sessionId": session_id, "timestamp": t.now() // 1000}
    return store.changes.fanout.open(
        _NO_SESSION if topics == [] else topics or (),
        after,
        greeting=frame(str(after), "connected", connected),
        may_listen=request.app.may_listen(request),
        groups=workspaces,
        find_topics=(lambda: find() or ()) if workspaces else None,
    )


def _first_number(asked: str | None, newest: int) -> int:
    """Return the event to begin after. Numbers of another database count as none."""
    if asked is None or not asked.isascii() or not asked.isdecimal() or len(asked) > 18:
        return newest
    return min(int(asked), newest)
