"""Routes of tasks: create, read, list, change, delete, and their subtasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, post_load, pre_load

from keruta_agent.core import model
from keruta_agent.http.bodies import LARGE_BODY, to_json
from keruta_agent.http.fields import FreeObject, FreeText, Name, Priority, RequestSchema
from keruta_agent.http.problems import Problem, invalid
from keruta_agent.http.request import Request
from keruta_agent.server import paging, task_lists
from keruta_agent.server.paging import PageQuery
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import TaskAnswer
from keruta_agent.server.store import session_rows, task_rows
from keruta_agent.server.store.artifacts import files as artifact_files
from keruta_agent.server.store.store import Change, Store
from keruta_agent.server.task_lists import TaskQuery

resource = Resource("tasks", "Scripts to run, one at a time")


class TaskChange(RequestSchema):
    """What may be changed of a task."""

    name = Name()
    description = FreeText()
    script = FreeText()
    priority = Priority()
    parameters = FreeObject()

    @pre_load
    def _accept_title(self, data: Any, **kwargs: Any) -> Any:
        # "title" is the older name of "name", "session" of "sessionId".
        if not isinstance(data, Mapping):
            return data
        renamed = dict(data)
        for new, old in (("name", "title"), ("sessionId", "session")):
            if renamed.get(new) is None and renamed.get(old) is not None:
                renamed[new] = renamed[old]
        return renamed


class SubtaskDraft(TaskChange):
    """A task to create under a parent, which gives it its session."""

    @post_load
    def _check_name(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if "name" not in data:
            raise ValidationError("Missing data for required field.", "name")
        return data


class TaskDraft(SubtaskDraft):
    """A task to create."""

    session_id = fields.String(data_key="sessionId")
    parent_task_id = fields.String(data_key="parentTaskId")


@resource.write(
    "POST", "/api/v1/tasks", body=TaskDraft, answer=TaskAnswer, status=201, largest=LARGE_BODY
)
def create_task(change: Change, draft: dict[str, Any]) -> Any:
    """Create a task in a session; ``sessionId`` may be left out when a parent is named."""
    session_id = draft.get("session_id")
    parent_id = draft.get("parent_task_id")
    if parent_id is not None:
        parent = _parent(change, parent_id)
        session_id = session_id or parent["session_id"]
        if session_id != parent["session_id"]:
            raise invalid("parentTaskId", f"task {parent_id} belongs to another session")
    if not session_id or not session_id.strip():
        raise invalid("sessionId", "Missing data for required field.")
    session_rows.open_session(change, session_id)
    return task_rows.to_answer(task_rows.create(change, draft, session_id))


def _parent(change: Change, parent_id: str) -> dict[str, Any]:
    try:
        return task_rows.lock(change, parent_id)
    except Problem as problem:
        raise Problem(400, problem.code, problem.message, field="parentTaskId") from None


@resource.read(
    "/api/v1/tasks", query=TaskQuery, answer=TaskAnswer(many=True), doc=paging.DOCUMENTATION
)
def list_tasks(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List all tasks, newest first."""
    return task_lists.newest_first(request, query, {})


@resource.read("/api/v1/tasks/{task_id}", answer=TaskAnswer)
def get_task(store: Store, task_id: str) -> Any:
    """Return a task."""
    return task_rows.to_answer(task_rows.find(store.tables, task_id))


@resource.write(
    "PUT", "/api/v1/tasks/{task_id}", body=TaskChange, answer=TaskAnswer, largest=LARGE_BODY
)
def change_task(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Change a task's name, description, script, priority or parameters."""
    row = task_rows.lock(change, task_id)
    values = dict(draft)
    if "parameters" in draft:
        values["parameters"] = to_json(draft["parameters"])
        values["fix_root"] = task_rows.fix_root(draft["parameters"])
    if values:
        row = task_rows.update(change, row, values)
        task_rows.announce(change, "task_update", row)
    return task_rows.to_answer(row)


@resource.write("DELETE", "/api/v1/tasks/{task_id}", status=204)
def delete_task(change: Change, task_id: str) -> None:
    """Delete a task with its logs and artifacts; its subtasks stay."""
    row = task_rows.lock(change, task_id)
    tasks = change.tables.tasks
    artifact_files.remove_with(change, tasks.select(tasks.number).where(tasks.id == task_id))
    tasks.delete().where(tasks.id == task_id).execute()
    task_rows.announce(change, "task_deleted", row)


@resource.write(
    "POST",
    "/api/v1/tasks/{task_id}/subtasks",
    body=SubtaskDraft,
    answer=TaskAnswer,
    status=201,
    largest=LARGE_BODY,
)
def create_subtask(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Create a task under a parent, in the parent's session."""
    parent = task_rows.lock(change, task_id)
    session_rows.open_session(change, parent["session_id"])
    row = task_rows.create(change, draft | {"parent_task_id": task_id}, parent["session_id"])
    return task_rows.to_answer(row)


@resource.read(
    "/api/v1/tasks/{task_id}/subtasks",
    query=PageQuery,
    answer=TaskAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_subtasks(store: Store, query: dict[str, Any], task_id: str, *, request: Request) -> Any:
    """List the tasks under a parent, newest first."""
    task_rows.find(store.tables, task_id)
    return task_lists.newest_first(request, query, {"parent_task_id": task_id})


@resource.read(
    "/api/v1/sessions/{session_id}/tasks",
    query=TaskQuery,
    answer=TaskAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_session_tasks(
    store: Store, query: dict[str, Any], session_id: str, *, request: Request
) -> Any:
    """List a session's tasks, newest first.

    Pages of PENDING ones come in the order of their execution. Where more tasks are PENDING than
    one answer holds, it holds those that run first.
    """
    session_rows.find(store.tables, session_id)
    return task_lists.of_session(request, query, session_id)


@resource.read(
    "/api/v1/tasks/session/{session_id}",
    query=TaskQuery,
    answer=TaskAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_tasks_of_session(
    store: Store, query: dict[str, Any], session_id: str, *, request: Request
) -> Any:
    """List a session's tasks, newest first (older route)."""
    session_rows.find(store.tables, session_id)
    return task_lists.of_session(request, query, session_id)


@resource.read(
    "/api/v1/tasks/session/{session_id}/pending",
    query=PageQuery,
    answer=TaskAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_pending_tasks_of_session(
    store: Store, query: dict[str, Any], session_id: str, *, request: Request
) -> Any:
    """List a session's PENDING tasks, newest first (oldest route)."""
    session_rows.find(store.tables, session_id)
    pending = {**query, "status": model.TaskStatus.PENDING}
    return task_lists.of_session(request, pending, session_id)
