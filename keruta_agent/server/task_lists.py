"""Lists of tasks: which there are, by whose index, and in which order a client sees them.

What an agent does not see it does not run. So where more tasks wait than one answer holds, it
holds those that run first, and never the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.responses import Response

from keruta_agent.core import wire
from keruta_agent.core.model import TaskStatus
from keruta_agent.http.request import Request
from keruta_agent.server import paging
from keruta_agent.server.access import scopes
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.ranges import Condition, Range, Ranked
from keruta_agent.server.store.statements import Row

_TEXTS: Final = ("description", "script", "message", "parameters")

#: In these words it is the condition of an index.
_IS_PENDING: Final[Condition] = (f"status = '{TaskStatus.PENDING}'", ())


class TaskQuery(paging.PageQuery):
    """Which tasks to list."""

    status = wire.TaskStatusField(metadata={"description": "Only tasks in this state."})


def newest_first(request: Request, query: Mapping[str, Any], owner: Mapping[str, Any]) -> Response:
    """List the tasks whose column has this value, and are in the state that is asked for."""
    status = query.get("status")
    prefix = dict(owner) if status is None else {**owner, "status": status.value}
    within = scopes.of_rows(request)
    listing = Range(table="tasks", prefix=prefix, more=within, texts=_TEXTS)
    return paging.respond(
        request,
        listing,
        query,
        task_rows.to_answer,
        keep=None if status is None else _is_in(status),
    )


def waiting(*sessions: Condition) -> Ranked:
    """Return the PENDING tasks of sessions, in the order of their execution."""
    return Ranked(
        table="tasks",
        rank="priority",
        newest_first=False,
        more=[*sessions, _IS_PENDING],
        texts=_TEXTS,
    )


def pending(request: Request, query: Mapping[str, Any], sessions: Condition) -> Response:
    """List the PENDING tasks of sessions: pages of them in the order of their execution.

    Clients that ask for no page get those that run first, the newest first.
    """
    return paging.respond(
        request,
        waiting(sessions, *scopes.of_rows(request)),
        query,
        task_rows.to_answer,
        keep=_is_in(TaskStatus.PENDING),
        sort=None if paging.asks_for_pages(query) else lambda place: -place.number,
    )


def of_session(request: Request, query: Mapping[str, Any], session_id: str) -> Response:
    """List a session's tasks, or those in a state."""
    if query.get("status") is TaskStatus.PENDING:
        return pending(request, query, ("session_id = ?", (session_id,)))
    return newest_first(request, query, {"session_id": session_id})


def _is_in(status: TaskStatus) -> Callable[[Row], bool]:
    def keep(row: Row) -> bool:
        return bool(row["status"] == status.value)

    return keep
