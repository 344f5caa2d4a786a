"""The route for agents that know their workspace and no session."""

from __future__ import annotations

from typing import Any

from keruta_agent.core import model
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import TaskAnswer
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.store import Store

resource = Resource("workspaces", "Where agents run")


@resource.read("/api/v1/workspaces/{workspace_id}/tasks/pending", answer=TaskAnswer(many=True))
def list_workspace_pending_tasks(store: Store, workspace_id: str) -> Any:
    """List the PENDING tasks of a workspace's sessions that have not ended, newest first."""
    tasks, sessions = store.tables.tasks, store.tables.sessions
    served = sessions.select(sessions.id).where(
        (sessions.workspace_id == workspace_id)
        & sessions.status.not_in(sorted(model.ENDED_SESSION_STATES))
    )
    pending = tasks.select().where(
        tasks.session_id.in_(served) & (tasks.status == model.TaskStatus.PENDING.value)
    )
    return task_rows.listed(store, pending)
