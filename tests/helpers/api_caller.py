"""Call the embedded keruta API in this process, without a socket."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from tests.helpers.asgi_client import Answer, Client

Json = dict[str, Any]


class ApiCaller:
    """A client of an application, with what most tests need first."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._client = Client(app)

    def call(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request to a path under ``/api/v1``, or to an absolute one that begins so."""
        if not path.startswith(("/api/", "/health")):
            path = f"/api/v1{path}"
        return self._client.request(method, path, **options)

    def get(self, path: str, **options: Any) -> Any:
        """Return the JSON of a GET that has to succeed."""
        return self._json(self.call("GET", path, **options), 200)

    def send(self, method: str, path: str, body: Any, *, status: int = 200, key: str = "") -> Any:
        """Return the JSON of a write that has to end with this status."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._json(self.call(method, path, json=body, headers=headers), status)

    def _json(self, response: Answer, status: int) -> Any:
        assert response.status_code == status, response.text
        return response.json() if response.content else None

    def session(self, **values: Any) -> Json:
        """Create a session."""
        created: Json = self.send("POST", "/sessions", {"name": "session"} | values, status=201)
        return created

    def task(self, **values: Any) -> Json:
        """Create a task, in a session of its own unless one is named."""
        values.setdefault("script", "true\n")
        if "sessionId" not in values:
            values["sessionId"] = self.session()["id"]
        created: Json = self.send("POST", "/tasks", {"name": "task"} | values, status=201)
        return created

    def move(self, task_id: str, *states: str, **values: Any) -> Json:
        """Move a task through states; the values go with the last one."""
        for state in states[:-1]:
            self.send("PUT", f"/tasks/{task_id}/status", {"status": state})
        moved: Json = self.send("PUT", f"/tasks/{task_id}/status", {"status": states[-1]} | values)
        return moved

    def error(self, method: str, path: str, body: Any, status: int) -> Json:
        """Return what a refused write says."""
        error: Json = self.send(method, path, body, status=status)["error"]
        assert error["status"] == status
        return error
