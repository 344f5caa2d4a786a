"""The daemon's HTTP API in this process: over an agent, without a socket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.http.access import Access
from keruta_agent.agent.control.http.application import create_application
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.status import describe
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.http.application import Application
from tests.helpers.asgi_client import Answer, Client, Streamed

TOKEN = "a-token-of-the-test-that-is-long-enough"
_WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


def services_of(agent: Agent, hindrances: dict[str, str] | None = None) -> Services:
    """Return the services of an agent that has no daemon around it."""
    found = hindrances or {}
    control = Control.of_agent(
        agent, lambda: {**describe(agent, session_id=None, started_at=0.0), "http": None}
    )
    return Services.of(control, lambda: found)


@contextlib.contextmanager
def agent_application(agent: Agent, services: Services | None = None) -> Iterator[Application]:
    """Serve an agent to who has ``TOKEN`` for the length of the block."""
    app = create_application(services or services_of(agent), Access(agent.settings, TOKEN))
    with contextlib.closing(app):
        yield app


class AgentCaller:
    """Sends requests to the application of an agent."""

    def __init__(self, app: Application) -> None:
        self.app = app

    def call(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request with the token; paths are below ``/api/v1``."""
        headers = {**_WITH_TOKEN, **options.pop("headers", {})}
        return Client(self.app).request(method, f"/api/v1{path}", headers=headers, **options)

    def stream(
        self, path: str, headers: dict[str, str] | None = None
    ) -> AbstractContextManager[Streamed]:
        """Return a stream as it comes; its path is below ``/api/v1``."""
        sent = {**_WITH_TOKEN, **(headers or {})}
        return Client(self.app).stream(f"/api/v1{path}", headers=sent)

    def get(self, path: str, **options: Any) -> Any:
        """Return the JSON of a GET that has to succeed."""
        response = self.call("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def send(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Return the JSON of an order that has to end with this status."""
        options = {} if body is None else {"json": body}
        response = self.call(method, path, **options)
        assert response.status_code == status, response.text
        return response.json()
