"""The client of the Task Registry, for reports on a coding task."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from keruta_agent.http.client.http import segment
from keruta_agent.runner.services.service import ServiceClient


class TaskRegistryClient(ServiceClient):
    """States, events and artifacts of tasks.

    Ids such as "1.1" are unique only within a spec. Whose task is meant is taken from
    ``spec_name``: the argument, or the one in the metadata or data.
    """

    service = "Task Registry"
    setting = "task_registry_url"
    port = 8001

    def update_task_status(
        self,
        task_id: str,
        status: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        spec_name: str | None = None,
    ) -> None:
        """Report the state of a task.

        Raises:
            RunnerError: the registry refused, broke, or cannot be reached.
        """
        body = {"status": status, "metadata": dict(metadata or {}), "updated_at": time.time()}
        doing = f"update the status of task {task_id!r}"
        self._send(doing, "PUT", task_id, "status", body, spec_name)

    def add_event(
        self,
        task_id: str,
        event_type: str,
        data: Mapping[str, Any],
        *,
        spec_name: str | None = None,
    ) -> None:
        """Add to what happened to a task.

        Raises:
            RunnerError: the registry refused, broke, or cannot be reached.
        """
        body = {"event_type": event_type, "data": dict(data), "timestamp": time.time()}
        doing = f"add the event {event_type!r} to task {task_id!r}"
        self._send(doing, "POST", task_id, "events", body, spec_name)

    def add_artifact(
        self,
        task_id: str,
        artifact_type: str,
        uri: str,
        size_bytes: int,
        metadata: Mapping[str, Any] | None = None,
        *,
        spec_name: str | None = None,
    ) -> None:
        """Report where a piece of evidence is.

        Raises:
            RunnerError: the registry refused, broke, or cannot be reached.
        """
        body = {
            "type": str(artifact_type),
            "uri": uri,
            "size_bytes": size_bytes,
            "metadata": dict(metadata or {}),
            "created_at": time.time(),
        }
        doing = f"add an artifact to task {task_id!r}"
        self._send(doing, "POST", task_id, "artifacts", body, spec_name)

    def get_task(self, task_id: str, *, spec_name: str | None = None) -> dict[str, Any]:
        """Return what the registry knows of a task, its history included.

        Raises:
            RunnerError: there is no such task, or the registry cannot be reached.
        """
        doing = f"get task {task_id!r}"
        params = {"spec_name": spec_name} if spec_name else None
        return self._read(doing, self._path(doing, "task", task_id), "a task", params)

    def _send(
        self,
        doing: str,
        method: str,
        task_id: str,
        part: str,
        body: Mapping[str, Any],
        spec_name: str | None,
    ) -> None:
        path = f"{self._path(doing, 'task', task_id)}/{part}"
        query = f"?spec_name={segment(spec_name)}" if spec_name else ""
        self._write(doing, method, f"{path}{query}", body)
