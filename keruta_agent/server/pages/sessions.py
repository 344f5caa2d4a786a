"""The first page: all sessions with their state and counts, and a form for a new one."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError
from starlette.responses import Response

from keruta_agent.http.pages import page_setup
from keruta_agent.http.request import Request
from keruta_agent.http.routes import first_problem
from keruta_agent.server.access import scopes
from keruta_agent.server.pages import cards
from keruta_agent.server.pages.group import pages
from keruta_agent.server.resources import sessions as resource
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import session_rows
from keruta_agent.server.store.store import Store
from keruta_agent.server.store.task_rows import date

_FIELDS = {
    "name": "name",
    "description": "description",
    "repository": "repositoryUrl",
    "ref": "repositoryRef",
}


@pages.get("/")
def show_sessions(request: Request) -> Response:
    """Show all sessions, newest first."""
    return _page(request, {}, "")


@pages.post("/sessions")
def create_session(request: Request) -> Response:
    """Create a session and show it."""
    form = request.fields
    given = {field: form.get(name, "").strip() for name, field in _FIELDS.items()}
    try:
        draft = resource.SessionDraft().load({name: text for name, text in given.items() if text})
    except ValidationError as error:
        field, _ = first_problem(error.messages)
        return _page(request, form, page_setup.text(request)(f"sessions.fault.{field}"))
    with store_of(request).writing() as change:
        created = resource.create_session(change, draft)
    return page_setup.go_to(request, f"/sessions/{created['id']}?done=created")


def _page(request: Request, form: Any, fault: str) -> Response:
    store = store_of(request)
    newest = cards.newest_event(store)
    values = {"sessions": _sessions(request), "form": form, "fault": fault, "newest": newest}
    return page_setup.page(request, "sessions.html", 400 if fault else 200, **values)


def _sessions(request: Request) -> list[dict[str, Any]]:
    store: Store = store_of(request)
    with store.database.connected():
        counts = cards.counts(store)
        rows = store.database.all(*scopes.sessions_of(request))
    return [
        {
            "id": row["id"],
            "name": row["name"],
            "status": session_rows.to_session(row).status,
            "description": row["description"],
            "pinned": bool(row["pinned"]),
            "createdAt": date(row["created_at"]),
            **counts.get(row["id"], cards.no_tasks()),
        }
        for row in rows
    ]
