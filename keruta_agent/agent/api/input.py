"""Asking a person through the server, and fetching the answer."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

import requests

from keruta_agent.agent.api.routes import OptionalRoutes
from keruta_agent.core import errors
from keruta_agent.core.model import Task
from keruta_agent.http.client import answers
from keruta_agent.http.client.http import HttpClient, segment

INPUT = "input route"


class InputRoutes:
    """The two routes for prompts and answers, which a server has or lacks together."""

    def __init__(
        self, http: HttpClient, routes: OptionalRoutes, *, read_task: Callable[[str], Task]
    ) -> None:
        self._http = http
        self._routes = routes
        self._read_task = read_task
        #: Keys of the polls by task that have not been answered yet.
        self._open_polls: dict[str, str] = {}

    def request(self, task_id: str, prompt: str, *, secret: bool, key: str) -> str | None:
        """Announce a prompt and return the server's id of it, None where it has none."""
        # What is polled for from now on is another answer than that of an earlier prompt.
        self._open_polls.pop(task_id, None)
        action = f"Asking for the input of task {task_id}"
        response = self._routes.call(
            INPUT,
            lambda: self._http.write(
                action,
                "POST",
                f"/api/v1/tasks/{segment(task_id)}/input-request",
                # Some servers refuse fields that they do not know, so it is sent where it counts.
                {"prompt": prompt, "secret": True} if secret else {"prompt": prompt},
                key=key,
            ),
            owner=lambda: self._read_task(task_id),
        )
        return _id_in(response)

    def poll(self, task_id: str, question_id: str | None) -> str | None:
        """Return the answer to the open prompt, or None while there is none.

        A server that took the prompt may say 404 while there is no answer.
        """
        action = f"Reading the input of task {task_id}"
        path = f"/api/v1/tasks/{segment(task_id)}/input"
        # Servers hand an answer out once. Under the same key they repeat one that was lost on
        # its way, so the key stays until some answer has arrived.
        key = self._open_polls.setdefault(task_id, uuid.uuid4().hex)
        try:
            response = self._routes.call(
                INPUT,
                lambda: self._http.get(
                    action,
                    path,
                    params=None if question_id is None else {"requestId": question_id},
                    headers={"Idempotency-Key": key},
                ),
                owner=lambda: self._read_task(task_id),
            )
        except errors.ApiNotFound:
            if self._routes.capabilities.has(INPUT):
                return None
            raise
        self._open_polls.pop(task_id, None)
        if response.status_code != 200:
            return None
        body = answers.json_of(response, action)
        given = body.get("input") if isinstance(body, Mapping) else None
        return given if isinstance(given, str) else None


def _id_in(response: requests.Response) -> str | None:
    """Return the id that a server gave to a question; the body is optional."""
    try:
        body = answers.parsed(response)
    except ValueError:
        return None
    found = body.get("id") if isinstance(body, Mapping) else None
    return found if isinstance(found, str) else None
