"""A person before a browser without scripts: reads pages and sends their forms."""

from __future__ import annotations

import re
import uuid
from typing import Any

from keruta_agent.http.application import Application
from tests.helpers.asgi_client import Answer, Client


def form_token(page: str) -> str:
    """Return what the forms of a page carry against forgery."""
    found = re.search(r'name="csrf" value="(\w+)"', page)
    assert found is not None
    return found.group(1)


class PageVisitor(Client):
    """One visitor of the pages of the embedded server."""

    app: Application

    def send(self, path: str, **fields: str) -> Answer:
        """Send a form as the first page, or that of the login, would."""
        token = form_token(self.get("/login" if path == "/login" else "/").text)
        return self.post(path, data={"csrf": token, **fields})

    def session(self, **fields: str) -> str:
        """Create a session by its form, and return the path of its page."""
        answer = self.send("/sessions", **{"name": "work", **fields})
        assert answer.status_code == 303
        return answer.headers["Location"].partition("?")[0]

    def task(self, session: str, **fields: str) -> str:
        """File a task by its form, and return the path of its page."""
        name = fields.setdefault("name", str(uuid.uuid4()))
        assert self.send(f"{session}/tasks", **fields).status_code == 303
        tasks = self.api(f"{session}/tasks")
        return next(f"/tasks/{task['id']}" for task in tasks if task["name"] == name)

    def api(self, path: str) -> Any:
        """Return what the API says of the thing of a page."""
        return self.get(f"/api/v1{path}").json()
