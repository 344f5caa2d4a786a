"""Reading sessions and the tasks in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import requests

from keruta_agent.agent.api import parsing, pending
from keruta_agent.agent.api.pages import followed
from keruta_agent.agent.api.routes import OptionalRoutes, no_owner
from keruta_agent.core import errors
from keruta_agent.core.model import Session, Task, TaskStatus
from keruta_agent.core.pending import PendingTasks
from keruta_agent.http.client.http import HttpClient, segment

logger = logging.getLogger(__name__)

PARTIAL_SEARCH = "search of sessions by partial id"
NAME_SEARCH = "search of sessions by name"
SESSION_LIST = "list of sessions"
BY_WORKSPACE = "look-up of a session by workspace"
WORKSPACE_TASKS = "task list of a workspace"


class SessionReader:
    """The sessions of one server, and their pending tasks."""

    def __init__(self, http: HttpClient, routes: OptionalRoutes) -> None:
        self._http = http
        self._routes = routes

    def by_id(self, session_id: str) -> Session:
        """Return a session by its complete id."""
        action = f"Reading session {session_id}"
        response = self._http.get(action, f"/api/v1/sessions/{segment(session_id)}")
        return parsing.session_of(response, action)

    def by_partial_id(self, partial_id: str) -> list[Session]:
        """Return the sessions whose id begins with this."""
        action = f"Searching the session {partial_id}…"
        path = "/api/v1/sessions/search/partial-id"
        response = self._routes.call(
            PARTIAL_SEARCH,
            lambda: self._http.get(action, path, params={"partialId": partial_id}),
            # A search that finds nothing answers an empty list: its 404 is a missing route.
            owner=no_owner,
        )
        wanted = partial_id.lower()
        found = self._sessions(response, action, path)
        return [session for session in found if session.id.lower().startswith(wanted)]

    def by_name(self, name: str) -> list[Session]:
        """Return the sessions of exactly this name; servers search for a part of it."""
        action = f"Searching the session named {name}"
        path = "/api/v1/sessions/search"
        response = self._routes.call(
            NAME_SEARCH,
            lambda: self._http.get(action, path, params={"name": name}),
            owner=no_owner,  # as with the search by id
        )
        found = self._sessions(response, action, path)
        return [session for session in found if session.name == name]

    def all(self) -> list[Session]:
        """Return all sessions; some servers name their states in other words here."""
        action = "Listing the sessions"
        path = "/api/v1/sessions"
        response = self._routes.call(
            SESSION_LIST, lambda: self._http.get(action, path), owner=no_owner
        )
        return self._sessions(response, action, path)

    def by_workspace(self, workspace_id: str) -> Session:
        """Return the session that a workspace serves."""
        action = f"Searching the session of workspace {workspace_id}"
        path = f"/api/v1/sessions/by-workspace/{segment(workspace_id)}"
        response = self._routes.call(BY_WORKSPACE, lambda: self._http.get(action, path))
        return parsing.session_of(response, action)

    def workspace_pending_tasks(self, workspace_id: str) -> list[Task]:
        """Return a workspace's pending tasks in execution order."""
        action = f"Reading the tasks of workspace {workspace_id}"
        path = f"/api/v1/workspaces/{segment(workspace_id)}/tasks/pending"
        response = self._routes.call(WORKSPACE_TASKS, lambda: self._http.get(action, path))
        return list(self._pending(response, action, path))

    def pending_tasks(self, session_id: str) -> PendingTasks:
        """Return a session's pending tasks, by the first route that works."""
        missing: dict[str, errors.ApiError] = {}
        for feature, path, params in _task_list_routes(session_id):
            if self._routes.capabilities.lacks(feature):
                continue
            try:
                tasks = self._task_list(session_id, path, params)
            except errors.ApiError as exc:
                if not self._routes.is_missing(feature, exc, lambda: self.by_id(session_id)):
                    raise
                missing[feature] = exc
                continue
            # Only an older route that answers proves the newer one missing: where all of them
            # answer 500, the server is broken.
            for absent in missing:
                self._routes.capabilities.learn_missing(absent)
            self._routes.capabilities.learn_present(feature)
            return tasks
        raise next(iter(missing.values()))

    def _task_list(self, session_id: str, path: str, params: Mapping[str, str]) -> PendingTasks:
        action = f"Reading the tasks of session {session_id}"
        first = self._http.get(action, path, params=params, largest=pending.LARGEST_LIST)
        return self._pending(first, action, path)

    def _sessions(self, first: requests.Response, action: str, path: str) -> list[Session]:
        pages = followed(self._http, action, path, first)
        return [session for page in pages for session in parsing.sessions_of(page, action)]

    def _pending(self, first: requests.Response, action: str, path: str) -> PendingTasks:
        return pending.pending_of(followed(self._http, action, path, first), action)


def _task_list_routes(session_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the routes for a session's tasks, newest server first."""
    session = segment(session_id)
    status = {"status": TaskStatus.PENDING.value}
    return [
        ("task list of a session", f"/api/v1/sessions/{session}/tasks", status),
        ("task list by session", f"/api/v1/tasks/session/{session}", status),
        ("pending task list by session", f"/api/v1/tasks/session/{session}/pending", {}),
    ]
