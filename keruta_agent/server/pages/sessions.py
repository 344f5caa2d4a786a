"""The first page: all sessions with their state and counts, and a form for a new one."""

from __future__ import annotations

from typing import Any

import flask
from marshmallow import ValidationError

from keruta_agent.http.pages import page_setup
from keruta_agent.http.routes import first_problem
from keruta_agent.server.pages import cards
from keruta_agent.server.pages.blueprint import pages
from keruta_agent.server.resources import sessions as resource
from keruta_agent.server.routes import current_store
from keruta_agent.server.store import session_rows
from keruta_agent.server.store.task_rows import date

_FIELDS = {
    "name": "name",
    "description": "description",
    "repository": "repositoryUrl",
    "ref": "repositoryRef",
}


@pages.get("/")
def show_sessions() -> flask.Response:
    """Show all sessions, newest first."""
    return _page({}, "")


@pages.post("/sessions")
def create_session() -> flask.Response:
    """Create a session and show it."""
    form = flask.request.form
    given = {field: form.get(name, "").strip() for name, field in _FIELDS.items()}
    try:
        draft = resource.SessionDraft().load({name: text for name, text in given.items() if text})
    except ValidationError as error:
        field, _ = first_problem(error.messages)
        return _page(form, page_setup.text()(f"sessions.fault.{field}"))
    with current_store().writing() as change:
        created = resource.create_session(change, draft)
    return page_setup.go_to(f"/sessions/{created['id']}?done=created")


def _page(form: Any, fault: str) -> flask.Response:
    newest = cards.newest_event(current_store())
    values = {"sessions": _sessions(), "form": form, "fault": fault, "newest": newest}
    return page_setup.page("sessions.html", 400 if fault else 200, **values)


def _sessions() -> list[dict[str, Any]]:
    store = current_store()
    with store.database.connected():
        counts = cards.counts(store)
        sessions = store.tables.sessions
        rows = list(sessions.select().order_by(sessions.number.desc()).dicts())
    return [
        {
            "id": row["id"],
            "name": row["name"],
            "status": session_rows.to_session(row).status,
            "description": row["description"],
            "createdAt": date(row["created_at"]),
            **counts.get(row["id"], cards.no_tasks()),
        }
        for row in rows
    ]
