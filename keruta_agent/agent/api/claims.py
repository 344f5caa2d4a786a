"""Registering this agent, and claiming tasks, at servers that know of agents.

Both have routes of their own: an extra field in a status write is a failure at some servers, and
a second write of the running state makes a task fail at others.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import requests

import keruta_agent
from keruta_agent.agent.api import parsing
from keruta_agent.agent.api.routes import OptionalRoutes
from keruta_agent.core import errors
from keruta_agent.core.model import AgentIdentity, AgentRole, Registration, Task
from keruta_agent.http.client import answers
from keruta_agent.http.client.http import HttpClient, segment

logger = logging.getLogger(__name__)

#: One feature: a server has the routes of both or of neither.
CLAIMS = "claims of tasks by agents"


class ClaimRoutes:
    """The routes of agents and claims at one server. Safe to share between threads."""

    def __init__(self, http: HttpClient, routes: OptionalRoutes) -> None:
        self._http = http
        self._routes = routes

    def register(
        self,
        agent: AgentIdentity,
        session_id: str,
        *,
        lease_s: float,
        read_session: Callable[[], object],
    ) -> Registration:
        """Register an agent or renew its lease: PUT ``/agents/{id}``."""
        action = f"Registering the agent with session {session_id}"
        body = {
            "instance": agent.instance,
            "sessionId": session_id,
            "leaseSeconds": round(lease_s),
            "host": agent.host,
            "version": keruta_agent.__version__,
        }
        response = self._routes.call(
            CLAIMS,
            lambda: self._http.write(
                action, "PUT", f"/api/v1/agents/{segment(agent.id)}", body, key=uuid.uuid4().hex
            ),
            owner=read_session,
        )
        return _registration(answers.json_of(response, action), action)

    def claim(
        self,
        task_id: str,
        agent: AgentIdentity,
        *,
        run: str,
        begun: bool,
        read_task: Callable[[], object],
    ) -> Task | None:
        """Claim a task for a run: POST ``/tasks/{id}/claim``.

        Returns:
            The task as it was claimed, None from servers that do not tell.
        """
        action = f"Claiming task {task_id}"
        path = f"/api/v1/tasks/{segment(task_id)}/claim"
        body = {"agent": agent.id, "instance": agent.instance, "run": run, "begun": begun}
        response = self._routes.call(
            CLAIMS,
            lambda: self._http.write(action, "POST", path, body, key=run),
            owner=read_task,
        )
        return _claimed_task(response, action)


def _claimed_task(response: requests.Response, action: str) -> Task | None:
    """Return the task in the answer of a claim, which stands whatever the answer holds."""
    try:
        answer = answers.json_of(response, action)
    except errors.ApiFailed as exc:
        logger.debug("the answer of a claim holds no task: %s", exc, extra={"action": "unasked"})
        return None
    claimed = answer.get("task") if isinstance(answer, Mapping) else None
    return None if claimed is None else parsing.task_in_list(claimed)


def _registration(body: Any, action: str) -> Registration:
    try:
        role = AgentRole(body["agent"]["role"])
        active = body.get("active")
        return Registration(role=role, active="" if active is None else _in_words(active))
    except (LookupError, TypeError, AttributeError, ValueError) as exc:
        raise errors.ApiFailed(f"{action} failed: the answer is no registration") from exc


def _in_words(agent: Mapping[str, Any]) -> str:
    host = answers.short(agent.get("host") or "")
    return answers.short(f"agent {agent['id']}{f' on {host}' if host else ''}")
