"""Routes of sessions: create, read, list, look up, set the state, delete."""

from __future__ import annotations

import functools
import uuid
from typing import Any, Final

from marshmallow import ValidationError, fields, post_load

from keruta_agent.core import model
from keruta_agent.http.bodies import to_json
from keruta_agent.http.fields import FreeObject, FreeText, Name, RequestSchema
from keruta_agent.http.problems import conflict, invalid, missing
from keruta_agent.http.request import Request
from keruta_agent.server import paging
from keruta_agent.server.access import scopes
from keruta_agent.server.paging import PageQuery
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import Identifier, SessionAnswer
from keruta_agent.server.store import session_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.artifacts import files as artifact_files
from keruta_agent.server.store.ranges import Condition, Range
from keruta_agent.server.store.statements import Select, select
from keruta_agent.server.store.store import Change, Store

#: Shorter beginnings of ids are refused: they would fit too many.
MIN_PARTIAL_ID = 4

#: Columns that may be long.
_TEXTS: Final = ("description", "tags", "template_config")

_ENDED: Final = ", ".join(f"'{state}'" for state in sorted(model.ENDED_SESSION_STATES))

resource = Resource("sessions", "What one workspace serves: a list of tasks")


class SessionStatusName(fields.String):
    """A session's state, in any case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        name = (super()._deserialize(value, attr, data, **kwargs) or "").strip().upper()
        try:
            return model.SessionStatus(name).value
        except ValueError:
            names = ", ".join(model.SessionStatus)
            raise ValidationError(f"Must be one of: {names}.") from None


class SessionDraft(RequestSchema):
    """A session to create."""

    id = Identifier()
    name = Name(required=True)
    description = FreeText(load_default="")
    tags = fields.List(FreeText(), load_default=list)
    workspace_id = Name(data_key="workspaceId", max_length=200)
    repository_url = Name(data_key="repositoryUrl", max_length=4000)
    repository_ref = Name(data_key="repositoryRef")
    template_config = FreeObject(data_key="templateConfig")
    pinned = fields.Boolean(load_default=False)


class SessionStatusDraft(RequestSchema):
    """A session's new state."""

    status = SessionStatusName(required=True)


class PinDraft(RequestSchema):
    """Whether a session is kept whatever its age."""

    pinned = fields.Boolean(required=True)


class NameQuery(PageQuery):
    """What a session's name holds, in any case."""

    name = FreeText(required=True)


class PartialIdQuery(PageQuery):
    """How a session's id begins, in any case."""

    partial_id = FreeText(required=True, data_key="partialId")

    @post_load
    def _check_length(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if len(data["partial_id"].strip()) < MIN_PARTIAL_ID:
            raise invalid("partialId", f"must have at least {MIN_PARTIAL_ID} characters")
        return data


@resource.write("POST", "/api/v1/sessions", body=SessionDraft, answer=SessionAnswer, status=201)
def create_session(change: Change, draft: dict[str, Any]) -> Any:
    """Create a session."""
    sessions = change.tables.sessions
    session_id = draft.get("id") or str(uuid.uuid4())
    if sessions.select(sessions.number).where(sessions.id == session_id).exists():
        raise conflict("SESSION_EXISTS", f"there is a session {session_id} already", field="id")
    template = draft.get("template_config")
    moment = t.now()
    sessions.insert(
        id=session_id,
        id_folded=session_id.casefold(),
        name=draft["name"],
        name_folded=draft["name"].casefold(),
        description=draft["description"],
        status=model.SessionStatus.ACTIVE.value,
        tags=to_json(draft["tags"]),
        workspace_id=draft.get("workspace_id"),
        repository_url=draft.get("repository_url"),
        repository_ref=draft.get("repository_ref"),
        template_config=None if template is None else to_json(template),
        pinned=int(draft.get("pinned", False)),
        created_at=moment,
        updated_at=moment,
    ).execute()
    row = session_rows.find(change.tables, session_id)
    session_rows.announce(change, "session_created", row, workspaceId=row["workspace_id"])
    return session_rows.to_answer(row)


@resource.read(
    "/api/v1/sessions",
    query=PageQuery,
    answer=SessionAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_sessions(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List all sessions, newest first."""
    return _listed(request, query)


@resource.read("/api/v1/sessions/{session_id}", answer=SessionAnswer)
def get_session(store: Store, session_id: str) -> Any:
    """Return a session by its complete id."""
    return session_rows.to_answer(session_rows.find(store.tables, session_id))


@resource.read(
    "/api/v1/sessions/search",
    query=NameQuery,
    answer=SessionAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def search_sessions(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List the sessions whose name holds this text, in any case, newest first."""
    place = "STRPOS" if store.database.postgresql else "INSTR"
    wanted = (f"{place}(name_folded, ?) > 0", (query["name"].casefold(),))
    return _listed(request, query, wanted)


@resource.read(
    "/api/v1/sessions/search/partial-id",
    query=PartialIdQuery,
    answer=SessionAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def search_sessions_by_partial_id(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List the sessions whose id begins with this text, in any case, newest first."""
    beginning = query["partial_id"].strip().casefold()
    wanted = ("SUBSTR(id_folded, 1, ?) = ?", (len(beginning), beginning))
    return _listed(request, query, wanted)


@functools.cache
def _of_workspace(within: str) -> Select:
    return select(
        "sessions",
        f"workspace_id = ? AND {within}"
        f" ORDER BY CASE WHEN status IN ({_ENDED}) THEN 1 ELSE 0 END, number DESC LIMIT 1",
    )


def _listed(request: Request, query: dict[str, Any], *wanted: Condition) -> Any:
    listing = Range(table="sessions", more=[*wanted, *scopes.of_sessions(request)], texts=_TEXTS)
    return paging.respond(request, listing, query, session_rows.to_answer)


@resource.read("/api/v1/sessions/by-workspace/{workspace_id}", answer=SessionAnswer)
def get_session_by_workspace(store: Store, workspace_id: str, *, request: Request) -> Any:
    """Return the newest session of a workspace, one that has not ended if there is any."""
    [(within, values)] = scopes.of_sessions(request) or [("1 = 1", ())]
    row = store.database.one(_of_workspace(within), workspace_id, *values)
    if row is None:
        raise missing("session", workspace_id, key="workspace id")
    return session_rows.to_answer(row)


@resource.write(
    "PUT",
    "/api/v1/sessions/{session_id}/status",
    body=SessionStatusDraft,
    answer=SessionAnswer,
)
def set_session_status(change: Change, draft: dict[str, Any], session_id: str) -> Any:
    """Set a session's state; every move is legal."""
    previous = session_rows.lock(change, session_id)
    sessions = change.tables.sessions
    moment = t.now()
    has_ended = draft["status"] in model.ENDED_SESSION_STATES
    if has_ended and previous["ended_at"] is not None:
        ended_at = previous["ended_at"]
    else:
        ended_at = moment if has_ended else None
    sessions.update(status=draft["status"], updated_at=moment, ended_at=ended_at).where(
        sessions.id == session_id
    ).execute()
    row = session_rows.find(change.tables, session_id)
    session_rows.announce(change, "session_update", row, previousStatus=previous["status"])
    return session_rows.to_answer(row)


@resource.write(
    "PUT",
    "/api/v1/sessions/{session_id}/pinned",
    body=PinDraft,
    answer=SessionAnswer,
)
def pin_session(change: Change, draft: dict[str, Any], session_id: str) -> Any:
    """Pin a session or unpin it: nothing of a pinned one is pruned, whatever its age."""
    session_rows.lock(change, session_id)
    sessions = change.tables.sessions
    sessions.update(pinned=int(draft["pinned"]), updated_at=t.now()).where(
        sessions.id == session_id
    ).execute()
    row = session_rows.find(change.tables, session_id)
    session_rows.announce(change, "session_update", row, previousStatus=row["status"])
    return session_rows.to_answer(row)


@resource.write("DELETE", "/api/v1/sessions/{session_id}", status=204)
def delete_session(change: Change, session_id: str) -> None:
    """Delete a session with its tasks, their logs and artifacts."""
    row = session_rows.lock(change, session_id)
    tasks, sessions = change.tables.tasks, change.tables.sessions
    owned = tasks.select(tasks.number).where(tasks.session_id == session_id)
    artifact_files.remove_with(change, owned)
    sessions.delete().where(sessions.id == session_id).execute()
    session_rows.announce(change, "session_deleted", row)
