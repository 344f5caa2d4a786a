"""What a person can do with one task: cancel, release or delete it, run it again, move it."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from keruta_agent.core.model import FAILURE_PARAMETER, TaskStatus
from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request
from keruta_agent.server.pages.group import ask_to_confirm, confirmed, pages
from keruta_agent.server.resources import claims
from keruta_agent.server.resources import status as status_resource
from keruta_agent.server.resources import tasks as resource
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import tables as t
from keruta_agent.server.store import task_rows

#: A task that a person runs again is no fix, and none of the fixes that are counted.
_OF_FIXES = ("autoFix", "fixCount", "originalTaskId", "errorCode", FAILURE_PARAMETER)
_MOST = 2**31 - 1


@pages.post("/tasks/{task_id}/cancel")
def cancel_task(request: Request, task_id: str) -> Response:
    """Cancel a task; the agent stops its script when it hears of it."""
    task = _task(request, task_id)
    if not confirmed(request):
        return _ask(request, "cancel", task)
    with store_of(request).writing() as change:
        draft = {"status": TaskStatus.CANCELLED, "message": "Cancelled on the web page"}
        status_resource.set_status(change, draft, task_id)
    return page_setup.go_to(request, f"/sessions/{task['session_id']}?done=cancelled")


@pages.post("/tasks/{task_id}/release")
def release_task(request: Request, task_id: str) -> Response:
    """Take a task that was never begun from the agent that has claimed it, which is gone."""
    task = _task(request, task_id)
    if not confirmed(request):
        return _ask(request, "release", task)
    with store_of(request).writing() as change:
        claims.release_claim(change, task_id)
    return page_setup.go_to(request, f"/sessions/{task['session_id']}?done=released")


@pages.post("/tasks/{task_id}/again")
def run_again(request: Request, task_id: str) -> Response:
    """Files a task that does the same once more, under the one that has ended."""
    task = _task(request, task_id)
    parameters = t.from_json(task["parameters"])
    kept = {key: value for key, value in parameters.items() if key not in _OF_FIXES}
    draft = {
        "name": task["name"],
        "description": task["description"],
        "script": task["script"],
        "priority": task["priority"],
        "parameters": kept | {"retryOf": task_id},
    }
    with store_of(request).writing() as change:
        resource.create_subtask(change, draft, task_id)
    return page_setup.go_to(request, f"/sessions/{task['session_id']}?done=again")


@pages.post("/tasks/{task_id}/priority")
def change_priority(request: Request, task_id: str) -> Response:
    """Raise or lower a task's priority by one step."""
    steps = {"up": 1, "down": -1}
    step = steps.get(request.fields.get("step", ""))
    if step is None:
        raise invalid("step", f"must be one of: {', '.join(steps)}")
    with store_of(request).writing() as change:
        task = task_rows.lock(change, task_id)
        priority = max(-_MOST, min(_MOST, task["priority"] + step))
        resource.change_task(change, {"priority": priority}, task_id)
    return page_setup.go_to(request, f"/sessions/{task['session_id']}?done=priority")


@pages.post("/tasks/{task_id}/delete")
def delete_task(request: Request, task_id: str) -> Response:
    """Delete a task with its log and artifacts."""
    task = _task(request, task_id)
    if not confirmed(request):
        return _ask(request, "delete.task", task)
    with store_of(request).writing() as change:
        resource.delete_task(change, task_id)
    return page_setup.go_to(request, f"/sessions/{task['session_id']}?done=deleted")


def _task(request: Request, task_id: str) -> dict[str, Any]:
    store = store_of(request)
    with store.database.connected():
        return task_rows.find(store.tables, task_id)


def _ask(request: Request, what: str, task: dict[str, Any]) -> Response:
    back = f"/sessions/{task['session_id']}"
    return ask_to_confirm(request, what, task["name"], back=back)
