"""Coding tasks for the pool of runners, and the pool itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from marshmallow import Schema, fields, validate

from keruta_agent.core import errors, wire
from keruta_agent.core.coding import context_file, validation
from keruta_agent.core.coding.model import TaskContext
from keruta_agent.http.bodies import to_json
from keruta_agent.http.fields import FreeObject, FreeText, Priority, StrictRequestSchema
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request
from keruta_agent.server import paging
from keruta_agent.server.coding import pool, tasks
from keruta_agent.server.coding.tasks import CodingState
from keruta_agent.server.routes import Resource
from keruta_agent.server.store.store import Change, Store

resource = Resource("coding", "Coding tasks, which a pool of runners solves")

_LONGEST_NAME: Final = 100
_LONGEST_REASON: Final = 500
_NOTHING: Final[tuple[object, ...]] = (None, "", [], {})
_STATE: Final = validate.OneOf([state.value for state in CodingState])
#: Characters of a task: its runner gets it in its environment, of which no part may be longer.
_LONGEST_TASK: Final = 100_000


class CodingDraft(StrictRequestSchema):
    """A task for a runner."""

    task = FreeObject(
        required=True,
        metadata={"description": "A TaskContext: task_id, spec_name, title, description, ..."},
    )
    priority = Priority(load_default=0)
    attempts = fields.Integer(
        load_default=tasks.DEFAULT_ATTEMPTS,
        strict=True,
        validate=validate.Range(min=1, max=tasks.MOST_ATTEMPTS),
        metadata={"description": "How often it may begin, where workers die or services are away."},
    )


class Reason(StrictRequestSchema):
    """Why."""

    reason = FreeText(load_default="", validate=validate.Length(max=_LONGEST_REASON))


class CodingQuery(paging.PageQuery):
    """Which tasks to list."""

    state = fields.String(validate=_STATE)


class CodingTaskAnswer(Schema):
    """A coding task."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    task = fields.Dict(required=True)
    priority = fields.Integer(required=True)
    state = fields.String(required=True, validate=_STATE)
    attempt = fields.Integer(required=True, metadata={"description": "0 before the first one."})
    attempts_left = fields.Integer(required=True, data_key="attemptsLeft")
    worker = fields.String(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    is_cancelling = fields.Boolean(required=True, data_key="isCancelling")
    created_at = wire.AnyDate(required=True, data_key="createdAt")
    started_at = wire.AnyDate(required=True, allow_none=True, data_key="startedAt")
    ended_at = wire.AnyDate(required=True, allow_none=True, data_key="endedAt")
    due_at = wire.AnyDate(required=True, data_key="dueAt")


class AttemptAnswer(Schema):
    """One attempt at a task; `late` is what ended after another one had begun."""

    attempt = fields.Integer(required=True)
    worker = fields.String(required=True)
    outcome = fields.String(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    result = fields.Dict(required=True, allow_none=True)
    started_at = wire.AnyDate(required=True, data_key="startedAt")
    ended_at = wire.AnyDate(required=True, allow_none=True, data_key="endedAt")


class WholeTaskAnswer(CodingTaskAnswer):
    """A coding task with its attempts."""

    attempts = fields.List(fields.Nested(AttemptAnswer), required=True)


class WorkerAnswer(Schema):
    """A worker, as it was seen last."""

    id = fields.String(required=True)
    host = fields.String(required=True)
    version = fields.String(required=True)
    concurrency = fields.Integer(required=True)
    is_draining = fields.Boolean(required=True, data_key="isDraining")
    is_alive = fields.Boolean(required=True, data_key="isAlive")
    registered_at = wire.AnyDate(required=True, data_key="registeredAt")
    seen_at = wire.AnyDate(required=True, data_key="seenAt")


class PoolAnswer(Schema):
    """The pool."""

    paused = fields.String(required=True, allow_none=True, metadata={"description": "Why."})
    waiting = fields.Integer(required=True)
    running = fields.Integer(required=True)
    states = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "How many tasks are in each state."},
    )
    workers = fields.List(fields.Nested(WorkerAnswer), required=True)


@resource.write(
    "POST",
    "/api/v1/coding-tasks",
    body=CodingDraft,
    answer=CodingTaskAnswer,
    status=201,
)
def file_coding_task(change: Change, draft: dict[str, Any]) -> Any:
    """File a coding task; a worker of the pool takes it by priority, then age."""
    try:
        context = context_file.from_values(draft["task"])
        # The playbook is a file of the machine that the task runs on.
        validation.check_filed(dataclasses.replace(context, playbook_path=None), has_pool=True)
    except (errors.TaskContextValidationError, errors.SecurityError) as exc:
        raise invalid("task", str(exc)) from exc
    said = _as_said(context, draft["task"])
    if len(to_json(said)) > _LONGEST_TASK:
        raise invalid("task", f"must be at most {_LONGEST_TASK} characters of JSON")
    row = tasks.file(
        change,
        said,
        name=context.title[:_LONGEST_NAME],
        priority=draft["priority"],
        attempts=draft["attempts"],
    )
    return tasks.to_answer(row)


def _as_said(context: TaskContext, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the author set: the runner has its own word on all others."""
    defaults = {field.name: field.default for field in dataclasses.fields(context)}
    return {
        name: value
        for name, value in context.to_dict().items()
        if (name in given or (name != "timeout_seconds" and value != defaults[name]))
        and value not in _NOTHING
    }


@resource.read(
    "/api/v1/coding-tasks",
    query=CodingQuery,
    answer=CodingTaskAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_coding_tasks(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List coding tasks, newest first."""
    return paging.respond(request, tasks.newest_first(query.get("state")), query, tasks.to_answer)


@resource.read("/api/v1/coding-tasks/{task_id}", answer=WholeTaskAnswer)
def get_coding_task(store: Store, task_id: str) -> Any:
    """Return a coding task with its attempts."""
    row = tasks.find(store.tables, task_id)
    attempts = tasks.attempts_of(store.tables, row)
    return tasks.to_answer(row) | {"attempts": [*map(tasks.attempt_to_answer, attempts)]}


@resource.write(
    "POST", "/api/v1/coding-tasks/{task_id}/cancel", body=Reason, answer=CodingTaskAnswer
)
def cancel_coding_task(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Cancel a coding task; the runner of one that runs is stopped within seconds."""
    return tasks.to_answer(
        tasks.cancel(change, task_id, draft["reason"] or "A person cancelled it")
    )


@resource.write("POST", "/api/v1/coding-tasks/{task_id}/retry", answer=CodingTaskAnswer)
def retry_coding_task(change: Change, task_id: str) -> Any:
    """Try a coding task again that failed or was cancelled."""
    return tasks.to_answer(tasks.retry(change, task_id))


@resource.read("/api/v1/coding-pool", answer=PoolAnswer)
def get_coding_pool(store: Store) -> Any:
    """Return the pool: how much waits, and who works."""
    return pool.to_answer(store.tables)


@resource.write("POST", "/api/v1/coding-pool/pause", body=Reason, answer=PoolAnswer)
def pause_coding_pool(change: Change, draft: dict[str, Any]) -> Any:
    """Pause the pool: what runs goes on, nothing new begins."""
    pool.set_paused(change, draft["reason"] or "A person paused it")
    return pool.to_answer(change.tables)


@resource.write("POST", "/api/v1/coding-pool/resume", answer=PoolAnswer)
def resume_coding_pool(change: Change) -> Any:
    """Resume the pool."""
    pool.set_paused(change, None)
    return pool.to_answer(change.tables)
