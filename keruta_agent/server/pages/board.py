"""One session as a board, and what a person can do with it as a whole."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from keruta_agent.core.model import SessionStatus
from keruta_agent.http.pages import page_setup
from keruta_agent.http.request import Request
from keruta_agent.http.responses import json_value
from keruta_agent.server.pages import cards
from keruta_agent.server.pages.group import ask_to_confirm, confirmed, pages
from keruta_agent.server.resources import sessions as resource
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import session_rows
from keruta_agent.server.store.task_rows import date


@pages.get("/sessions/{session_id}")
def show_board(request: Request, session_id: str) -> Response:
    """Show a session's tasks in the order of their execution."""
    store = store_of(request)
    newest = cards.newest_event(store)  # before the tasks: an event twice is better than never
    session = _session(request, session_id)
    with store.database.connected():
        board = cards.read_board(store, session_id)
    return page_setup.page(
        request,
        "board.html",
        session=session,
        created_at=date(session["created_at"]),
        ended=session_rows.to_session(session).has_ended,
        board=board,
        newest=newest,
        server=request.origin,
    )


@pages.get("/sessions/{session_id}/cards")
def list_cards(request: Request, session_id: str) -> Response:
    """Return the whole board, for a page that has missed events."""
    store = store_of(request)
    newest = cards.newest_event(store)
    _session(request, session_id)
    with store.database.connected():
        board = cards.read_board(store, session_id)
    response = json_value(
        {
            "newest": newest,
            "cards": [*board.running, *board.waiting, *board.ended],
            "endedCount": board.ended_count,
        }
    )
    response.headers.update(page_setup.HEADERS)
    return response


@pages.post("/sessions/{session_id}/end")
def end_session(request: Request, session_id: str) -> Response:
    """End a session: its agent stops what runs, and end."""
    session = _session(request, session_id)
    if not confirmed(request):
        return _ask(request, "end", session)
    _set_status(request, session_id, SessionStatus.COMPLETED)
    return page_setup.go_to(request, f"/sessions/{session_id}?done=ended")


@pages.post("/sessions/{session_id}/pause")
def pause_session(request: Request, session_id: str) -> Response:
    """Pause a session: its agent starts no further task."""
    _set_status(request, session_id, SessionStatus.PAUSED)
    return page_setup.go_to(request, f"/sessions/{session_id}?done=paused")


@pages.post("/sessions/{session_id}/resume")
def resume_session(request: Request, session_id: str) -> Response:
    """Resume a paused session, or reopen one that has ended."""
    _set_status(request, session_id, SessionStatus.ACTIVE)
    return page_setup.go_to(request, f"/sessions/{session_id}?done=resumed")


@pages.post("/sessions/{session_id}/pin")
def pin_session(request: Request, session_id: str) -> Response:
    """Keep a session whatever its age."""
    return _pin(request, session_id, is_pinned=True)


@pages.post("/sessions/{session_id}/unpin")
def unpin_session(request: Request, session_id: str) -> Response:
    """Let a session go at its age again."""
    return _pin(request, session_id, is_pinned=False)


@pages.post("/sessions/{session_id}/delete")
def delete_session(request: Request, session_id: str) -> Response:
    """Delete a session with all that belongs to it."""
    session = _session(request, session_id)
    if not confirmed(request):
        return _ask(request, "delete.session", session)
    with store_of(request).writing() as change:
        resource.delete_session(change, session_id)
    return page_setup.go_to(request, "/?done=session-deleted")


def _session(request: Request, session_id: str) -> dict[str, Any]:
    store = store_of(request)
    with store.database.connected():
        return session_rows.find(store.tables, session_id)


def _set_status(request: Request, session_id: str, status: SessionStatus) -> None:
    with store_of(request).writing() as change:
        resource.set_session_status(change, {"status": status.value}, session_id)


def _pin(request: Request, session_id: str, *, is_pinned: bool) -> Response:
    with store_of(request).writing() as change:
        resource.pin_session(change, {"pinned": is_pinned}, session_id)
    done = "pinned" if is_pinned else "unpinned"
    return page_setup.go_to(request, f"/sessions/{session_id}?done={done}")


def _ask(request: Request, what: str, session: dict[str, Any]) -> Response:
    back = f"/sessions/{session['id']}"
    return ask_to_confirm(request, what, session["name"], back=back)
