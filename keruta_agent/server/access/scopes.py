"""Scopes as conditions of queries, and the check of what a request names.

What is outside a scope is answered for as what does not exist: else ids could be guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keruta_agent.http.problems import Problem, missing
from keruta_agent.http.request import Request
from keruta_agent.server.access.principals import Scope, ScopeKind, principal_of
from keruta_agent.server.access.rights import Reach
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.ranges import Condition
from keruta_agent.server.store.statements import select, statement

#: Sessions of a workspace that a stream is about when it begins, the newest.
_MOST_SESSIONS: Final = 500

_OF_WORKSPACE: Final = "workspace_id = ? OR name = ?"
_SESSION: Final = statement(f"SELECT 1 FROM sessions WHERE id = ? AND ({_OF_WORKSPACE})")  # noqa: S608
_TASK_OF_SESSION: Final = statement("SELECT 1 FROM tasks WHERE id = ? AND session_id = ?")
_TASK_OF_WORKSPACE: Final = statement(
    "SELECT 1 FROM tasks JOIN sessions ON sessions.id = tasks.session_id"  # noqa: S608
    f" WHERE tasks.id = ? AND (sessions.{_OF_WORKSPACE.replace('OR ', 'OR sessions.')})"
)
_SESSIONS: Final = statement(
    f"SELECT id FROM sessions WHERE {_OF_WORKSPACE} ORDER BY number DESC LIMIT ?"  # noqa: S608
)


def of_sessions(request: Request) -> list[Condition]:
    """Return what keeps a list of sessions within the scope of who asks."""
    scope = principal_of(request).scope
    if scope is None:
        return []
    if scope.kind is ScopeKind.SESSION:
        return [("id = ?", (scope.value,))]
    return [(f"({_OF_WORKSPACE})", (scope.value, scope.value))]


def sessions_of(request: Request) -> tuple[Any, ...]:
    """Return the query of all sessions of who asks, the newest first, and its values."""
    [(within, values)] = of_sessions(request) or [("1 = 1", ())]
    return select("sessions", f"{within} ORDER BY number DESC"), *values


def of_rows(request: Request) -> list[Condition]:
    """Return what keeps a list of rows with a ``session_id`` within the scope of who asks."""
    scope = principal_of(request).scope
    if scope is None:
        return []
    if scope.kind is ScopeKind.SESSION:
        return [("session_id = ?", (scope.value,))]
    query = f"session_id IN (SELECT id FROM sessions WHERE {_OF_WORKSPACE})"  # noqa: S608
    return [(query, (scope.value, scope.value))]


def heard_sessions(
    scope: Scope | None, database: Database, asked: Sequence[str]
) -> Sequence[str] | None:
    """Return the sessions whose events a stream is about when it begins; None for all."""
    if scope is None:
        return list(asked) or None
    if scope.kind is ScopeKind.SESSION:
        return [scope.value] if not asked or scope.value in asked else []
    with database.connected():
        if asked:
            return [each for each in asked if _is_in_workspace(database, scope, each)]
        rows = database.run(_SESSIONS, scope.value, scope.value, _MOST_SESSIONS).fetchall()
        return [row[0] for row in rows]


def heard_workspaces(scope: Scope | None, asked: Sequence[str]) -> Sequence[str]:
    """Return the workspaces whose later sessions a stream is about, too, by id or name."""
    is_about_all = scope is not None and scope.kind is ScopeKind.WORKSPACE and not asked
    return [scope.value] if scope is not None and is_about_all else []


def check(
    database: Database,
    scope: Scope,
    reach: Reach,
    path_values: Mapping[str, Any],
    arguments: Sequence[Any],
) -> None:
    """Refuse a request that leads out of its scope.

    Args:
        database: a thread has a connection to it.
        scope: of who asks.
        reach: by what the request is checked.
        path_values: of the request.
        arguments: what its body and query hold.

    Raises:
        Problem: it names what is not in the scope (404; 400 where a body names it).
    """
    if reach is Reach.SESSION:
        _check_session(database, scope, path_values["session_id"])
    elif reach is Reach.TASK:
        _check_task(database, scope, path_values["task_id"])
    elif reach is Reach.BODY:
        _check_session(database, scope, arguments[0]["session_id"])
    elif reach is Reach.DRAFT:
        _check_draft(database, scope, arguments[0])


def _check_draft(database: Database, scope: Scope, draft: Mapping[str, Any]) -> None:
    fields = (
        ("parentTaskId", draft.get("parent_task_id"), _check_task),
        ("sessionId", draft.get("session_id"), _check_session),
    )
    for field, value, check_value in fields:
        if not value:
            continue
        try:
            check_value(database, scope, value)
        except Problem as problem:
            raise Problem(400, problem.code, problem.message, field=field) from None


def _check_session(database: Database, scope: Scope, session_id: str) -> None:
    if scope.kind is ScopeKind.SESSION:
        is_in = session_id == scope.value
    else:
        is_in = _is_in_workspace(database, scope, session_id)
    if not is_in:
        raise missing("session", session_id)


def _is_in_workspace(database: Database, scope: Scope, session_id: str) -> bool:
    found = database.run(_SESSION, session_id, scope.value, scope.value)
    return found.fetchone() is not None


def _check_task(database: Database, scope: Scope, task_id: str) -> None:
    if scope.kind is ScopeKind.SESSION:
        found = database.run(_TASK_OF_SESSION, task_id, scope.value)
    else:
        found = database.run(_TASK_OF_WORKSPACE, task_id, scope.value, scope.value)
    if found.fetchone() is None:
        raise missing("task", task_id)
