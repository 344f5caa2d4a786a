"""Sessions as rows: found, serialized, announced."""

from __future__ import annotations

from typing import Any, Final

from keruta_agent.core import model
from keruta_agent.http.problems import Problem, conflict, missing
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.statements import select
from keruta_agent.server.store.store import Change
from keruta_agent.server.store.tables import Tables

_FIND: Final = select("sessions", "id = ?")
_LOCK: Final = select("sessions", "id = ?", locks=True)


def find(tables: Tables, session_id: str) -> dict[str, Any]:
    """Return a session's row.

    Raises:
        Problem: there is none (404).
    """
    return _existing(tables.database.one(_FIND, session_id), session_id)


def lock(change: Change, session_id: str) -> dict[str, Any]:
    """Return a session's row, which nobody else changes until the transaction ends."""
    return _existing(change.tables.database.one(_LOCK, session_id), session_id)


def _existing(row: dict[str, Any] | None, session_id: str) -> dict[str, Any]:
    if row is None:
        raise missing("session", session_id)
    return row


def open_session(change: Change, session_id: str) -> dict[str, Any]:
    """Return the row of a session that a task is filed into.

    Raises:
        Problem: there is none (400, the id came in a body), or it takes no more tasks (409).
    """
    try:
        row = lock(change, session_id)
    except Problem as problem:
        raise Problem(400, problem.code, problem.message, field="sessionId") from None
    if row["status"] in model.ENDED_SESSION_STATES:
        raise conflict(
            "SESSION_ENDED",
            f"session {session_id} is {row['status']} and takes no more tasks",
            field="sessionId",
        )
    return row


def to_session(row: dict[str, Any]) -> model.Session:
    """Return the session that a row holds."""
    return model.Session(
        id=row["id"],
        name=row["name"],
        status=row["status"],
        description=row["description"],
        tags=t.from_json(row["tags"]),
        workspace_id=row["workspace_id"],
        repository_url=row["repository_url"],
        repository_ref=row["repository_ref"],
        template_config=t.from_json(row["template_config"]),
        created_at=t.from_microseconds(row["created_at"]),
        updated_at=t.from_microseconds(row["updated_at"]),
    )


def to_answer(row: dict[str, Any]) -> dict[str, Any]:
    """Return a session as JSON, as ``SessionAnswer`` documents it."""
    return {
        "id": row["id"],
        "name": row["name"],
        "status": row["status"],
        "description": row["description"],
        "tags": t.from_json(row["tags"]),
        "workspaceId": row["workspace_id"],
        "repositoryUrl": row["repository_url"],
        "repositoryRef": row["repository_ref"],
        "templateConfig": t.from_json(row["template_config"]),
        "createdAt": t.date(row["created_at"]),
        "updatedAt": t.date(row["updated_at"]),
        "endedAt": t.date(row["ended_at"]),
        "pinned": bool(row["pinned"]),
    }


def announce(change: Change, name: str, row: dict[str, Any], **more: Any) -> None:
    """Notify listeners of a change of a session."""
    data = {
        "sessionId": row["id"],
        "name": row["name"],
        "status": row["status"],
        "description": row["description"],
        "tags": t.from_json(row["tags"]),
    }
    change.announce(name, row["id"], data | more)
