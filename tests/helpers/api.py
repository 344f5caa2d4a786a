"""Another person's hands on the keruta API, over plain HTTP and without the agent's client."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import Any

import urllib3

from tests.helpers.waiting import wait_until

#: Log entries that are read at once.
PAGE = 1000
ENDED = ("COMPLETED", "FAILED", "CANCELLED")


class Api:
    """One server's API, and a session to file tasks in."""

    def __init__(
        self, url: str, *, repository_url: str | None = None, token: str | None = None
    ) -> None:
        self.url = url
        self._root = f"{url}/api/v1"
        # Connections are kept: whoever waits asks again and again.
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._connections = urllib3.PoolManager(timeout=30, retries=False, headers=headers)
        weakref.finalize(self, self._connections.clear)
        session = {"name": "acceptance", "repositoryUrl": repository_url}
        self.session_id: str = self._call("POST", "/sessions", json=session)["id"]

    @property
    def port(self) -> int:
        """Port on which the server listens."""
        return int(self.url.rpartition(":")[2])

    def _call(self, method: str, path: str, json: Any = None) -> Any:
        answer = self._connections.request(method, self._root + path, json=json)
        assert answer.status < 400, f"{method} {path}: {answer.status} {answer.data.decode()}"
        return answer.json() if answer.data else None

    def file_task(self, script: str, *, name: str = "task", priority: int = 0, **more: Any) -> str:
        """File a task and return its id."""
        body = {"sessionId": self.session_id, "name": name, "script": script, "priority": priority}
        return str(self._call("POST", "/tasks", json={**body, **more})["id"])

    def task(self, task_id: str) -> dict[str, Any]:
        """Return a task."""
        return dict(self._call("GET", f"/tasks/{task_id}"))

    def tasks(self) -> list[dict[str, Any]]:
        """Return the session's tasks."""
        return list(self._call("GET", f"/sessions/{self.session_id}/tasks"))

    def fixes(self, task_id: str) -> list[str]:
        """Return the ids of the tasks that were filed to fix this one."""
        return [task["id"] for task in self.tasks() if task["parentTaskId"] == task_id]

    def logs(self, task_id: str) -> list[dict[str, Any]]:
        """Return a task's log, oldest first."""
        found: list[dict[str, Any]] = []
        for page in itertools.count():
            query = f"order=asc&size={PAGE}&page={page}"
            entries = self._call("GET", f"/tasks/{task_id}/logs?{query}")
            found += entries
            if len(entries) < PAGE:
                break
        return found

    def lines(self, task_id: str, source: str = "stdout") -> list[str]:
        """Return the lines of one source of a task's log, oldest first."""
        return [entry["message"] for entry in self.logs(task_id) if entry["source"] == source]

    def artifacts(self, task_id: str) -> list[dict[str, Any]]:
        """Return what is stored with a task."""
        return list(self._call("GET", f"/tasks/{task_id}/artifacts"))

    def question(self, task_id: str) -> dict[str, Any] | None:
        """Return the open question of a task."""
        answer = self._connections.request("GET", f"{self._root}/tasks/{task_id}/input-request")
        found = answer.json() if answer.status == 200 else None
        return found if found is not None and found["open"] else None

    def wait_for_question(self, task_id: str) -> dict[str, Any]:
        """Return the question of a task once it asks one."""
        return wait_until(lambda: self.question(task_id), f"task {task_id} asks") or {}

    def answer(self, task_id: str, text: str) -> None:
        """Answer a task's open question."""
        self._call("POST", f"/tasks/{task_id}/input", json={"input": text})

    def write_status(self, task_id: str, status: str, **more: Any) -> None:
        """Write a task's state, as another client would."""
        body = {"status": status, "message": "", **more}
        self._call("PUT", f"/tasks/{task_id}/status", json=body)

    def write_log(self, task_id: str, *messages: str, **more: Any) -> None:
        """Write lines to a task's log, as another client would."""
        entries = [{"level": "INFO", "message": message, **more} for message in messages]
        self._call("POST", f"/tasks/{task_id}/logs", json=entries)

    def write_script(self, task_id: str, script: str) -> None:
        """Change what a task is to execute."""
        self._call("PUT", f"/tasks/{task_id}", json={"script": script})

    def delete_task(self, task_id: str) -> None:
        """Delete a task."""
        self._call("DELETE", f"/tasks/{task_id}")

    def end_session(self, status: str = "COMPLETED") -> None:
        """End the session: its daemon may leave."""
        self._call("PUT", f"/sessions/{self.session_id}/status", json={"status": status})

    def wait_for(self, task_id: str, *states: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """Return the task once it is in one of these states, by default an end."""
        wanted = states or ENDED

        def found() -> dict[str, Any] | None:
            task = self.task(task_id)
            return task if task["status"] in wanted else None

        return wait_until(found, f"task {task_id} is {' or '.join(wanted)}", timeout_s) or {}

    def wait_for_all(self, task_ids: Sequence[str], timeout_s: float = 60.0) -> None:
        """Return when all of these tasks have ended."""
        wanted = set(task_ids)

        def open_tasks() -> set[str]:
            ended = {task["id"] for task in self.tasks() if task["status"] in ENDED}
            return wanted - ended

        wait_until(lambda: not open_tasks(), f"{len(wanted)} tasks have ended", timeout_s)
