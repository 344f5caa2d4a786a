"""Routes of the Task Registry: what runners say of the tasks that they work on.

Tasks come into being when they are first spoken of. Their ids are unique within a spec only, and
older clients name the spec in the metadata, or not at all.
"""

from __future__ import annotations

from typing import Any, Final

from marshmallow import Schema, fields, validate

from keruta_agent.http.bodies import to_json
from keruta_agent.http.fields import FreeObject, FreeText, Name, RequestSchema
from keruta_agent.http.problems import Problem, conflict, invalid, missing
from keruta_agent.http.request import Request
from keruta_agent.server.routes import KEY_PARAMETER, Resource
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Change, Store
from keruta_agent.server.store.tables import Tables

resource = Resource("tasks", "Tasks, and what happened to them")

MAX_URI: Final = 8000
#: Bytes of a report, which may hold what a test printed.
_MAX_REPORT: Final = 8 * 1024 * 1024
_MAX_SPEC: Final = 1000

#: The registry's own states, for the words that runners use.
STATES: Final = {
    **dict.fromkeys(("ready", "pending", "todo", "queued"), "ready"),
    **dict.fromkeys(("running", "in_progress", "in-progress", "started"), "running"),
    "blocked": "blocked",
    **dict.fromkeys(("done", "completed", "succeeded", "success"), "done"),
    **dict.fromkeys(("failed", "error"), "failed"),
    **dict.fromkeys(("cancelled", "canceled"), "cancelled"),
}

_SPEC_PARAMETER: Final = {
    "in": "query",
    "name": "spec_name",
    "description": "Whose task is meant, where several specs have one with this id.",
    "schema": {"type": "string", "minLength": 1, "maxLength": _MAX_SPEC},
}
_DOC: Final = {"parameters": [_SPEC_PARAMETER, KEY_PARAMETER]}


class StatusBody(RequestSchema):
    """A task is in another state now."""

    status = Name(required=True, max_length=200)
    metadata = FreeObject(load_default=dict)
    updated_at = fields.Float(load_default=None)


class EventBody(RequestSchema):
    """Something happened to a task."""

    event_type = Name(required=True, max_length=200)
    data = FreeObject(load_default=dict)
    timestamp = fields.Float(load_default=None)


class ArtifactBody(RequestSchema):
    """A task left evidence somewhere."""

    type = Name(required=True, max_length=200)
    uri = Name(required=True, max_length=MAX_URI)
    size_bytes = fields.Integer(
        required=True, strict=True, validate=validate.Range(min=0, max=2**63 - 1)
    )
    metadata = FreeObject(load_default=dict)
    created_at = fields.Float(load_default=None)


class TaskAnswer(Schema):
    """A task. Times are seconds since 1970."""

    task_id = fields.String(required=True)
    spec_name = fields.String(required=True)
    status = fields.String(required=True, metadata={"description": "As it was said."})
    state = fields.String(
        required=True, allow_none=True, metadata={"description": "The registry's own word for it."}
    )
    metadata = fields.Dict(required=True)
    created_at = fields.Float(required=True)
    updated_at = fields.Float(required=True)


class WholeTaskAnswer(TaskAnswer):
    """A task, with all that was said of it in the order of its arrival."""

    history = fields.List(fields.Dict(), required=True)
    events = fields.List(fields.Dict(), required=True)
    artifacts = fields.List(fields.Dict(), required=True)


class TasksAnswer(Schema):
    """Some tasks, in the order of their arrival."""

    tasks = fields.List(fields.Nested(TaskAnswer), required=True)
    next = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Where to go on: after."}
    )


class TasksQuery(RequestSchema):
    """Which tasks are wanted."""

    spec_name = FreeText(load_default=None)
    status = FreeText(load_default=None)
    limit = fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))
    after = fields.Integer(load_default=0, validate=validate.Range(min=0, max=2**63 - 1))


@resource.write(
    "PUT",
    "/tasks/{task_id}/status",
    body=StatusBody,
    answer=TaskAnswer,
    doc=dict(_DOC),
    largest=_MAX_REPORT,
)
def put_status(change: Change, body: dict[str, Any], task_id: str, *, request: Request) -> Any:
    """Report the state of a task."""
    tables = change.tables
    task = _spoken_of(change, task_id, body["metadata"], _asked_spec(request))
    changes = {
        "status": body["status"],
        # What earlier reports said and this one does not repeat goes on being true.
        "metadata": to_json({**t.from_json(task["metadata"]), **body["metadata"]}),
        "updated_at": t.now(),
    }
    tables.registry_tasks.update(**changes).where(
        tables.registry_tasks.number == task["number"]
    ).execute()
    tables.registry_statuses.insert(
        task=task["number"],
        status=body["status"],
        metadata=to_json(body["metadata"]),
        said_at=body["updated_at"],
        at=changes["updated_at"],
    ).execute()
    return _to_answer({**task, **changes})


@resource.write(
    "POST",
    "/tasks/{task_id}/events",
    body=EventBody,
    answer=TaskAnswer,
    status=201,
    doc=dict(_DOC),
    largest=_MAX_REPORT,
)
def add_event(change: Change, body: dict[str, Any], task_id: str, *, request: Request) -> Any:
    """Add to what happened to a task."""
    task = _spoken_of(change, task_id, body["data"], _asked_spec(request))
    change.tables.registry_events.insert(
        task=task["number"],
        event_type=body["event_type"],
        data=to_json(body["data"]),
        said_at=body["timestamp"],
        at=t.now(),
    ).execute()
    return _to_answer(task)


@resource.write(
    "POST",
    "/tasks/{task_id}/artifacts",
    body=ArtifactBody,
    answer=TaskAnswer,
    status=201,
    doc=dict(_DOC),
    largest=_MAX_REPORT,
)
def add_artifact(change: Change, body: dict[str, Any], task_id: str, *, request: Request) -> Any:
    """Report where a piece of evidence is."""
    task = _spoken_of(change, task_id, body["metadata"], _asked_spec(request))
    change.tables.registry_artifacts.insert(
        task=task["number"],
        type=body["type"],
        uri=body["uri"],
        size_bytes=body["size_bytes"],
        metadata=to_json(body["metadata"]),
        said_at=body["created_at"],
        at=t.now(),
    ).execute()
    return _to_answer(task)


@resource.read("/tasks/{task_id}", answer=WholeTaskAnswer, doc={"parameters": [_SPEC_PARAMETER]})
def get_task(store: Store, task_id: str, *, request: Request) -> Any:
    """Return a task with its history, events and artifacts."""
    tables = store.tables
    task = _chosen(_of_id(tables, task_id), task_id, _asked_spec(request))
    if task is None:
        raise missing("task", task_id)
    number = task["number"]
    return {
        **_to_answer(task),
        "history": [
            _timed(row, {"status": row["status"], "metadata": t.from_json(row["metadata"])})
            for row in _of_task(tables.registry_statuses, number)
        ],
        "events": [
            _timed(row, {"event_type": row["event_type"], "data": t.from_json(row["data"])})
            for row in _of_task(tables.registry_events, number)
        ],
        "artifacts": [
            _timed(
                row,
                {
                    "type": row["type"],
                    "uri": row["uri"],
                    "size_bytes": row["size_bytes"],
                    "metadata": t.from_json(row["metadata"]),
                },
            )
            for row in _of_task(tables.registry_artifacts, number)
        ],
    }


@resource.read("/tasks", answer=TasksAnswer, query=TasksQuery)
def list_tasks(store: Store, query: dict[str, Any]) -> Any:
    """List tasks."""
    tasks = store.tables.registry_tasks
    found = tasks.select().where(tasks.number > query["after"])
    if query["spec_name"] is not None:
        found = found.where(tasks.spec_name == query["spec_name"])
    if query["status"] is not None:
        found = found.where(tasks.status == query["status"])
    rows = list(found.order_by(tasks.number).limit(query["limit"] + 1).dicts())
    shown = rows[: query["limit"]]
    return {
        "tasks": [_to_answer(row) for row in shown],
        "next": shown[-1]["number"] if len(rows) > len(shown) else None,
    }


def _asked_spec(request: Request) -> str:
    return _checked_spec(request.query_params.get("spec_name", ""), "spec_name")


def _checked_spec(spec: object, field: str) -> str:
    if not isinstance(spec, str) or len(spec) > _MAX_SPEC or not spec.isprintable():
        raise invalid(field, f"must be one line of at most {_MAX_SPEC} characters")
    return spec


def _spoken_of(
    change: Change, task_id: str, words: dict[str, Any], asked_spec: str
) -> dict[str, Any]:
    """Return the task that a report is about, made if nothing was said of it before.

    Its row is locked, so that reports of one task come one after the other.
    """
    if len(task_id) > _MAX_SPEC or not task_id.isprintable():
        raise invalid("task_id", f"must be one line of at most {_MAX_SPEC} characters")
    spec = asked_spec or _checked_spec(words.get("spec_name") or "", "spec_name")
    tasks = change.tables.registry_tasks
    known = _known(change, task_id, spec)
    if known is not None:
        return known
    is_orphan = (tasks.id == task_id) & (tasks.spec_name == "")
    orphan: dict[str, Any] | None = change.locked(tasks.select().where(is_orphan)).dicts().get()
    if orphan is not None:
        # What was said without a spec was said of this one: no other has such a task.
        tasks.update(spec_name=spec).where(tasks.number == orphan["number"]).execute()
        return {**orphan, "spec_name": spec}
    now = t.now()
    row = {"spec_name": spec, "id": task_id, "status": "ready", "metadata": "{}"}
    new = tasks.insert(**row, created_at=now, updated_at=now)
    # Another writer may make it at this moment; then the row is the other's.
    new.on_conflict_ignore().as_rowcount().execute()
    made = _known(change, task_id, spec)
    if made is None:
        raise LookupError(f"the task {task_id!r} of spec {spec!r} was made and is not there")
    return made


def _known(change: Change, task_id: str, spec: str) -> dict[str, Any] | None:
    return _chosen(change.locked(_of_id(change.tables, task_id)), task_id, spec)


def _of_id(tables: Tables, task_id: str) -> Any:
    tasks = tables.registry_tasks
    return tasks.select().where(tasks.id == task_id)


def _chosen(query: Any, task_id: str, spec: str) -> dict[str, Any] | None:
    """Return the task of a spec; without a spec, the only one.

    Raises:
        Problem: several specs have one (409).
    """
    rows = list(query.dicts())
    if spec:
        return next((row for row in rows if row["spec_name"] == spec), None)
    if len(rows) > 1:
        raise _ambiguous(task_id, [row["spec_name"] for row in rows])
    return rows[0] if rows else None


def _ambiguous(task_id: str, specs: list[str]) -> Problem:
    return conflict(
        "AMBIGUOUS_TASK",
        f"several specs have a task {task_id!r} ({', '.join(sorted(specs)[:10])}); "
        "say which one with spec_name",
        field="spec_name",
    )


def _of_task(table: Any, number: int) -> list[dict[str, Any]]:
    return list(table.select().where(table.task == number).order_by(table.number).dicts())


def _timed(row: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "said_at": row["said_at"], "recorded_at": row["at"] / 1e6}


def _to_answer(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "task_id": row["id"],
        "spec_name": row["spec_name"],
        "status": row["status"],
        "state": STATES.get(row["status"].lower()),
        "metadata": t.from_json(row["metadata"]),
        "created_at": row["created_at"] / 1e6,
        "updated_at": row["updated_at"] / 1e6,
    }
