"""The route that moves a task from state to state."""

from __future__ import annotations

from typing import Any

from keruta_agent.core import wire
from keruta_agent.core.model import TASK_MOVES, TaskStatus
from keruta_agent.http.fields import FreeText, Percent, RequestSchema
from keruta_agent.http.problems import conflict
from keruta_agent.server.resources import autofix
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import TaskAnswer
from keruta_agent.server.store import questions, task_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Change

resource = Resource("status", "How far a task is")


class StatusDraft(RequestSchema):
    """A task's new state; what is left out keeps its value."""

    status = wire.TaskStatusField(required=True)
    message = FreeText()
    progress = Percent()
    error_code = FreeText(data_key="errorCode")


@resource.write("PUT", "/api/v1/tasks/{task_id}/status", body=StatusDraft, answer=TaskAnswer)
def set_status(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Move a task to a state; writing the state that holds is legal."""
    return _move(change, draft, task_id)


@resource.write("PATCH", "/api/v1/tasks/{task_id}/status", body=StatusDraft, answer=TaskAnswer)
def patch_status(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Move a task to a state, for clients that write states with PATCH."""
    return _move(change, draft, task_id)


def _move(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    row = task_rows.lock(change, task_id)
    current, asked = TaskStatus(row["status"]), draft["status"]
    if asked is current and current.is_terminal:
        # The first word on how a task ended stands.
        return task_rows.to_answer(row)
    if asked is not current and asked not in TASK_MOVES[current]:
        raise conflict(
            "ILLEGAL_TRANSITION",
            f"task {task_id} is {current} and cannot become {asked}",
            field="status",
            current=current.value,
            asked=asked.value,
        )
    values = draft | {"status": asked.value}
    if asked is TaskStatus.COMPLETED:
        values.setdefault("progress", 100)
    if asked is TaskStatus.PROCESSING and row["started_at"] is None:
        values["started_at"] = t.now()
    if asked.is_terminal:
        values["ended_at"] = t.now()
    # A script need not be waiting to have asked.
    if asked.is_terminal or (current is TaskStatus.WAITING_FOR_INPUT and asked is not current):
        questions.close(change, row["number"])
    changed = task_rows.update(change, row, values)
    if asked.is_terminal:
        autofix.settle_request(change, changed)
    task_rows.announce(change, "task_update", changed, previousStatus=current.value)
    return task_rows.to_answer(changed)
