"""Writing a task's state: the one write that must neither be lost nor sent twice.

On a server with the execution lock a second running write makes the task fail, so whatever is
unclear is looked up with a read, never resent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import requests

from keruta_agent.agent.api import parsing
from keruta_agent.agent.api.dialect import RunningName
from keruta_agent.core import errors
from keruta_agent.core.model import StatusReport, Task, TaskStatus
from keruta_agent.http.client.http import HttpClient, segment

logger = logging.getLogger(__name__)

#: Answers that refuse a value without having stored anything.
_VALUE_REFUSED = frozenset({400, 422})


class StatusWriter:
    """The writes of states, in the words of one server."""

    def __init__(
        self,
        http: HttpClient,
        running_name: RunningName,
        *,
        read_task: Callable[[str], Task],
        timeout_s: float,
    ) -> None:
        self._http = http
        self._running_name = running_name
        self._read_task = read_task
        self._timeout_s = timeout_s

    def write(self, task_id: str, report: StatusReport, *, key: str) -> Task:
        """Write a state and return the task as the server now holds it."""
        if report.status is TaskStatus.PROCESSING:
            return self._write_running(task_id, report, key)
        return self._result(self._put(task_id, report, report.status.value, key), task_id)

    def _write_running(self, task_id: str, report: StatusReport, key: str) -> Task:
        name, alternative = self._running_name.name, self._running_name.alternative
        try:
            return self._put_running(task_id, report, name, key)
        except errors.ApiError as exc:
            if alternative is None:
                raise
            if exc.status == 500 and name == "PROCESSING":
                held = self._held(task_id)
                if held.status is not TaskStatus.PENDING:
                    return held
            elif exc.status not in _VALUE_REFUSED:
                raise
            logger.info(
                "the server refuses %s, trying %s",
                name,
                alternative,
                extra={"action": "status_name_switched"},
            )
        # Another key: a server that stored the first answer under its key would repeat it.
        return self._put_running(task_id, report, alternative, f"{key}-{alternative.lower()}")

    def _put_running(self, task_id: str, report: StatusReport, name: str, key: str) -> Task:
        response = self._put(task_id, report, name, key)
        self._running_name.settle(name)
        return self._result(response, task_id)

    def _put(self, task_id: str, report: StatusReport, name: str, key: str) -> requests.Response:
        body = {
            "status": name,
            "message": report.message,
            "progress": report.progress,
            "errorCode": report.error_code,
        }
        return self._http.write(
            f"Writing {report.status} of task {task_id}",
            "PUT",
            f"/api/v1/tasks/{segment(task_id)}/status",
            body,
            key=key,
            timeout_s=self._timeout_s,
        )

    def _result(self, response: requests.Response, task_id: str) -> Task:
        try:
            return parsing.task_of(response, f"Writing the state of task {task_id}")
        except errors.ApiFailed:
            logger.debug("the answer to a status write holds no task", exc_info=True)
        return self._held(task_id)

    def _held(self, task_id: str) -> Task:
        """Read the task after a write whose answer does not say whether it was stored."""
        try:
            return self._read_task(task_id)
        except errors.ApiNotFound:
            raise
        except errors.ApiError as exc:
            raise errors.ApiAmbiguous(
                f"The state of task {task_id} was sent and may be stored, but: {exc.message}",
                advice="Look at the task before sending it again",
            ) from exc
