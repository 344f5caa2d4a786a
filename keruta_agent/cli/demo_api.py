"""What the demo asks of the API: a session, its tasks, and all that has arrived of them."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Final

from keruta_agent import errors, model, wire
from keruta_agent.clients import answers
from keruta_agent.clients.http import HttpClient
from keruta_agent.clients.keruta import parsing
from keruta_agent.model import LogEntry, Session, SessionStatus, Task

#: Log entries in one request.
PAGE: Final = 1000


class DemoApi:
    """Speaks to the embedded server of the demo."""

    def __init__(self, url: str, token: str) -> None:
        self._http = HttpClient(url, token=token, timeout_s=10, user_agent="keruta-demo")

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def create_session(self, name: str, repository: Path) -> Session:
        """Creates a session whose tasks work in a repository."""
        action = "Creating the demo's session"
        body = {"name": name, "repositoryUrl": str(repository), "repositoryRef": "main"}
        response = self._http.write(action, "POST", "/api/v1/sessions", body, key=_key())
        return parsing.session_of(response, action)

    def end_session(self, session_id: str) -> None:
        """Sets the session COMPLETED, upon which its daemon ends."""
        path = f"/api/v1/sessions/{session_id}/status"
        body = {"status": SessionStatus.COMPLETED.value}
        self._http.write("Ending the demo's session", "PUT", path, body, key=_key())

    def file_task(self, session_id: str, name: str, script: str, temporary: Path) -> None:
        """Files a task whose script keeps its temporary files in a directory of the demo's."""
        body = {
            "sessionId": session_id,
            "name": name,
            "script": script,
            "parameters": {"env": {"TMPDIR": str(temporary)}},
        }
        self._http.write(f"Filing the task {name}", "POST", "/api/v1/tasks", body, key=_key())

    def tasks(self, session_id: str) -> list[Task]:
        """Returns all tasks of the session, the oldest first."""
        action = "Reading the demo's tasks"
        response = self._http.get(action, f"/api/v1/sessions/{session_id}/tasks")
        return model.in_execution_order(parsing.tasks_of(response, action))

    def log_page(self, task_id: str, page: int) -> list[LogEntry]:
        """Returns ``PAGE`` entries of a task's log, the oldest on page 0."""
        action = f"Reading the log of task {task_id}"
        query = {"order": "asc", "page": str(page), "size": str(PAGE)}
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/logs", params=query)
        schema = wire.LogEntrySchema(many=True)
        entries: list[LogEntry] = schema.load(answers.json_of(response, action))
        return entries

    def open_question(self, task_id: str) -> str | None:
        """Returns what the script of a task asks, None while it asks nothing."""
        action = f"Reading the question of task {task_id}"
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/input-request")
        if response.status_code != HTTPStatus.OK:
            return None
        asked = answers.json_of(response, action)
        return str(asked["prompt"]) if asked["open"] else None

    def answer(self, task_id: str, text: str) -> bool:
        """Answers it; tells whether it was still asked."""
        path = f"/api/v1/tasks/{task_id}/input"
        try:
            self._http.write("Answering a script", "POST", path, {"input": text}, key=_key())
        except errors.ApiConflict:
            return False
        return True

    def artifacts(self, task_id: str) -> list[str]:
        """Returns the paths of the files that are stored with a task."""
        action = f"Reading the artifacts of task {task_id}"
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/artifacts")
        return [str(artifact["path"]) for artifact in answers.json_of(response, action)]

    def run_time_s(self, task_id: str) -> float | None:
        """Returns how long a task's script ran, in seconds; None before it is known."""
        action = f"Reading the metrics of task {task_id}"
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/metrics")
        times = [
            measured["metrics"]["durationMs"]
            for measured in answers.json_of(response, action)
            if "durationMs" in measured["metrics"]
        ]
        return times[0] / 1000 if times else None


def _key() -> str:
    return f"demo-{uuid.uuid4().hex}"
