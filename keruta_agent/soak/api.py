"""A second client of the API: past the proxy, and without the agent's own client.

The server is restarted now and then, so everything is asked again until it answers.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from keruta_agent.core import errors
from keruta_agent.soak.soak_tasks import PlannedTask

#: Seconds that the server gets to come back.
TIMEOUT_S: Final = 60.0
PAUSE_S: Final = 0.1
#: Log entries, and other rows, in one request.
PAGE: Final = 5000
_ROWS: Final = 1000


class DirectApi:
    """A client of the server itself; each thread needs its own."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._connection: http.client.HTTPConnection | None = None

    def create_session(self, repository_url: str) -> str:
        """Create the soak's session, which works in a repository, and return its id."""
        body = {"name": "soak", "repositoryUrl": repository_url}
        return str(self._json("POST", "/sessions", body, key="session")["id"])

    def end_session(self, session_id: str) -> None:
        """End the session: its daemon leaves when it has nothing left to do."""
        self._json("PUT", f"/sessions/{session_id}/status", {"status": "COMPLETED"})

    def file_task(self, session_id: str, task: PlannedTask) -> str:
        """File a task once, however often it takes, and return its id."""
        body = {
            "sessionId": session_id,
            "name": task.name,
            "script": task.script,
            "priority": task.priority,
            "parameters": task.parameters,
        }
        return str(self._json("POST", "/tasks", body, key=f"file-{task.number}")["id"])

    def task(self, task_id: str) -> Mapping[str, Any]:
        """Return a task."""
        return dict(self._json("GET", f"/tasks/{task_id}"))

    def tasks(self, session_id: str) -> list[Mapping[str, Any]]:
        """Return all tasks of the session."""
        return list(self._pages(f"/sessions/{session_id}/tasks?", _ROWS))

    def log(self, task_id: str) -> list[tuple[str, str]]:
        """Return source and message of each log entry, in order."""
        entries = self._pages(f"/tasks/{task_id}/logs?order=asc&", PAGE)
        return [(entry["source"], entry["message"]) for entry in entries]

    def artifacts(self, task_id: str) -> list[tuple[str, str]]:
        """Return path and SHA-256 of each artifact, computed from the bytes that are stored."""
        stored = self._json("GET", f"/tasks/{task_id}/artifacts")
        return [
            (each["path"], self._digest(f"/tasks/{task_id}/artifacts/{quote(each['id'])}/content"))
            for each in stored
        ]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _digest(self, path: str) -> str:
        return hashlib.sha256(self._ask("GET", path, None, {})).hexdigest()

    def _pages(self, path: str, size: int) -> Iterator[Any]:
        """Yield what the pages of a list hold."""
        for number in itertools.count():
            page = self._json("GET", f"{path}size={size}&page={number}")
            yield from page
            if len(page) < size:
                return

    def _json(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, key: str = ""
    ) -> Any:
        headers = {"Idempotency-Key": f"soak-{key}"} if key else {}
        return json.loads(self._ask(method, path, body, headers))

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: dict[str, str]
    ) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self._ask_once(method, f"/api/v1{path}", data, headers)
            except (OSError, http.client.HTTPException) as exc:
                self.close()
                if time.monotonic() >= deadline:
                    raise errors.RunError(f"the soak's server does not answer: {exc}") from exc
                time.sleep(PAUSE_S)

    def _ask_once(
        self, method: str, path: str, data: bytes | None, headers: dict[str, str]
    ) -> bytes:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._address, timeout=30)
        self._connection.request(method, path, data, headers)
        with self._connection.getresponse() as response:
            content = response.read()
        if response.status >= 400:
            raise errors.RunError(
                f"the soak's server refuses {method} {path}: {response.status} {content[:200]!r}"
            )
        return content
