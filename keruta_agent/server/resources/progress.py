"""The route for a running task's progress."""

from __future__ import annotations

from typing import Any

from keruta_agent.core.model import TaskStatus
from keruta_agent.http.fields import FreeText, Percent, RequestSchema
from keruta_agent.http.problems import conflict
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import TaskAnswer
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.store import Change

resource = Resource("progress", "How much of a task is done")


class ProgressDraft(RequestSchema):
    """A task's progress in percent; without a message the last one stays."""

    progress = Percent(required=True)
    message = FreeText()


@resource.write("PATCH", "/api/v1/tasks/{task_id}/progress", body=ProgressDraft, answer=TaskAnswer)
def set_progress(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Set the progress of a task that has not ended."""
    row = task_rows.lock(change, task_id)
    if TaskStatus(row["status"]).is_terminal:
        raise conflict(
            "TASK_ENDED",
            f"task {task_id} is {row['status']}: its progress is final",
            field="progress",
            current=row["status"],
        )
    changed = task_rows.update(change, row, draft)
    task_rows.announce(change, "task_update", changed)
    return task_rows.to_answer(changed)
