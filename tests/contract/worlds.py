"""The servers that the contract suite runs against, filled and looked at in the same words."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import requests

from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import wire
from keruta_agent.core.model import LogEntry, Session, Task
from keruta_agent.testing import InMemoryKerutaApi


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact as it is stored."""

    path: str
    content: bytes
    sha256: str
    description: str


class World(Protocol):
    """A server under test: the port to it, and another person's hands on it."""

    api: KerutaApi

    def add_session(self, **fields: Any) -> Session:
        """File a session; the fields are those of the model."""
        ...

    def add_task(self, session_id: str, script: str = "true", **fields: Any) -> Task:
        """File a task."""
        ...

    def end_session(self, session_id: str) -> None:
        """End a session."""
        ...

    def answer_input(self, task_id: str, text: str) -> None:
        """Answer a task's open prompt."""
        ...

    def logs(self, task_id: str) -> list[LogEntry]:
        """Return a task's log, oldest first."""
        ...

    def artifacts(self, task_id: str) -> list[Artifact]:
        """Return a task's artifacts in the order of their arrival."""
        ...

    def metrics(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's measurements, newest first."""
        ...


class DoubleWorld:
    """The in-memory double."""

    def __init__(self) -> None:
        self.double = InMemoryKerutaApi()
        self.api: KerutaApi = self.double

    def add_session(self, **fields: Any) -> Session:
        return self.double.add_session(**fields)

    def add_task(self, session_id: str, script: str = "true", **fields: Any) -> Task:
        return self.double.add_task(session_id, script, **fields)

    def end_session(self, session_id: str) -> None:
        self.double.end_session(session_id)

    def answer_input(self, task_id: str, text: str) -> None:
        self.double.answer_input(task_id, text)

    def logs(self, task_id: str) -> list[LogEntry]:
        return self.double.logs(task_id)

    def artifacts(self, task_id: str) -> list[Artifact]:
        return [
            Artifact(
                path=one.relative_path,
                content=one.content,
                sha256=one.sha256,
                description=one.description,
            )
            for one in self.double.artifacts
            if one.task_id == task_id
        ]

    def metrics(self, task_id: str) -> list[dict[str, Any]]:
        return [dict(one) for one in reversed(self.double.metrics[task_id])]


class ServerWorld:
    """The embedded server, reached by the client; the other person speaks plain HTTP."""

    def __init__(self, api: KerutaApi, url: str, token: str) -> None:
        self.api = api
        self._url = f"{url}/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {token}"

    def close(self) -> None:
        self._session.close()

    def add_session(self, **fields: Any) -> Session:
        body = wire.SessionSchema().dump(Session(**{"id": "", "name": "session"} | fields))
        body = {name: value for name, value in body.items() if value}
        return wire.load(wire.SessionSchema(), self._post("/sessions", body), Session)

    def add_task(self, session_id: str, script: str = "true", **fields: Any) -> Task:
        task = Task(**{"id": "", "name": "task"} | fields, session_id=session_id, script=script)
        body = wire.TaskSchema().dump(task)
        return wire.load(wire.TaskSchema(), self._post("/tasks", body), Task)

    def end_session(self, session_id: str) -> None:
        self._ask("PUT", f"/sessions/{session_id}/status", {"status": "COMPLETED"})

    def answer_input(self, task_id: str, text: str) -> None:
        self._post(f"/tasks/{task_id}/input", {"input": text})

    def logs(self, task_id: str) -> list[LogEntry]:
        found = self._ask("GET", f"/tasks/{task_id}/logs?order=asc&size=10000").json()
        return [wire.load(wire.LogEntrySchema(), one, LogEntry) for one in found]

    def artifacts(self, task_id: str) -> list[Artifact]:
        path = f"/tasks/{task_id}/artifacts"
        return [
            Artifact(
                path=one["path"],
                content=self._ask("GET", f"{path}/{one['id']}/content").content,
                sha256=one["sha256"],
                description=one["description"],
            )
            for one in self._ask("GET", path).json()
        ]

    def metrics(self, task_id: str) -> list[dict[str, Any]]:
        found = self._ask("GET", f"/tasks/{task_id}/metrics").json()
        return [one["metrics"] for one in found]

    def _post(self, path: str, body: object) -> Any:
        return self._ask("POST", path, body).json()

    def _ask(self, method: str, path: str, body: object = None) -> requests.Response:
        response = self._session.request(method, f"{self._url}{path}", json=body, timeout=30)
        assert response.ok, f"{method} {path}: {response.status_code} {response.text}"
        return response
