"""The route for agents that know their workspace and no session."""

from __future__ import annotations

from typing import Any, Final

from keruta_agent.core import model
from keruta_agent.http.request import Request
from keruta_agent.server import paging, task_lists
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import TaskAnswer
from keruta_agent.server.store.store import Store

resource = Resource("workspaces", "Where agents run")


_ENDED: Final = ", ".join(f"'{state}'" for state in sorted(model.ENDED_SESSION_STATES))
_SESSIONS: Final = f"SELECT id FROM sessions WHERE workspace_id = ? AND status NOT IN ({_ENDED})"  # noqa: S608


@resource.read(
    "/api/v1/workspaces/{workspace_id}/tasks/pending",
    query=paging.PageQuery,
    answer=TaskAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_workspace_pending_tasks(
    store: Store, query: dict[str, Any], workspace_id: str, *, request: Request
) -> Any:
    """List the PENDING tasks of a workspace's sessions that have not ended, newest first.

    Pages of them come in the order of their execution.
    """
    served = (f"session_id IN ({_SESSIONS})", (workspace_id,))
    return task_lists.pending(request, query, served)
