"""Routes of a task's log: one entry or a list in, pages out.

Lists come by the thousand from scripts that print a lot, so they are checked by hand, without a
schema for each line, and stored by one statement.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from keruta_agent.core import model, wire
from keruta_agent.http import bodies
from keruta_agent.http.bodies import to_json
from keruta_agent.http.fields import FreeText, RequestSchema
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request
from keruta_agent.server import paging
from keruta_agent.server.routes import Resource
from keruta_agent.server.store import log_rows, task_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.log_rows import Entry
from keruta_agent.server.store.store import Change, Store

resource = Resource("logs", "What tasks wrote")

#: Entries in one request, both ways.
MAX_ENTRIES = 10_000
#: Values in one request: an entry has some ten.
MAX_VALUES = 500_000
DEFAULT_PAGE = 100

_LEVELS = {level.value: level.value for level in model.LogLevel}


class LogEntryAnswer(wire.LogEntrySchema):
    """A stored log entry."""

    id = fields.String(required=True)
    task_id = fields.String(required=True, data_key="taskId")
    session_id = fields.String(required=True, data_key="sessionId")


class CountAnswer(Schema):
    """How many entries a log has."""

    count = fields.Integer(required=True)
    pruned_at = wire.AnyDate(
        data_key="prunedAt",
        metadata={"description": "When entries of it were removed, by age or number."},
    )


class LogQuery(RequestSchema):
    """Which entries to return."""

    level = wire.LogLevelField()
    source = FreeText()
    order = fields.String(validate=validate.OneOf(["asc", "desc"]), load_default="desc")
    page = fields.Integer(validate=validate.Range(min=0, max=2**31), load_default=0)
    size = fields.Integer(
        validate=validate.Range(min=1, max=MAX_ENTRIES), load_default=DEFAULT_PAGE
    )
    after = fields.Integer(
        validate=validate.Range(min=0, max=2**63 - 1),
        metadata={"description": "Only entries behind the one with this id."},
    )
    before = fields.Integer(
        validate=validate.Range(min=0, max=2**63 - 1),
        metadata={"description": "Only entries before the one with this id."},
    )
    start_time = fields.String(data_key="startTime", metadata={"format": "date-time"})
    end_time = fields.String(data_key="endTime", metadata={"format": "date-time"})

    @post_load
    def _read_dates(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        for name, key in (("start_time", "startTime"), ("end_time", "endTime")):
            if name in data:
                moment = wire.parse_date(data[name])
                if moment is None:
                    raise ValidationError("Not an ISO 8601 date.", key)
                data[name] = t.to_microseconds(moment)
        return data


def _receive(request: Request) -> tuple[list[Entry], bool]:
    """Read the body before the transaction: the entries, and whether they came as a list."""
    body = bodies.read_json(request, most_values=MAX_VALUES)
    listed = isinstance(body, list)
    drafts = body if listed else [body]
    if len(drafts) > MAX_ENTRIES:
        raise invalid("body", f"holds {len(drafts)} entries; the limit is {MAX_ENTRIES}")
    present = t.now()
    entries = []
    for index, draft in enumerate(drafts):
        try:
            entries.append(_read_entry(draft, present))
        except _Wrong as wrong:
            field = f"{index}.{wrong.field}" if listed else wrong.field
            raise invalid(field, wrong.reason) from None
    return entries, listed


class _Wrong(Exception):
    """An invalid field of a log entry."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field)
        self.field = field
        self.reason = reason


def _read_entry(draft: Any, present: int) -> Entry:
    if not isinstance(draft, dict):
        raise _Wrong("body", "must be an object with level and message")
    message = draft.get("message")
    if not isinstance(message, str):
        raise _Wrong("message", "must be text")
    source = draft.get("source") or "task"
    if not isinstance(source, str):
        raise _Wrong("source", "must be text")
    return (
        _level(draft.get("level")),
        bodies.repair_text(source),
        bodies.repair_text(message),
        _metadata(draft.get("metadata")),
        _microseconds(draft.get("timestamp"), present),
    )


def _level(name: Any) -> str:
    if name is None:
        return model.LogLevel.INFO.value
    try:
        return _LEVELS.get(name) or model.parse_log_level(name).value
    except (ValueError, AttributeError, TypeError):
        raise _Wrong("level", f"must be one of: {', '.join(model.LogLevel)}") from None


def _microseconds(date: Any, present: int) -> int:
    if date is None:
        return present
    try:
        # Three times as fast as reading every encoding, for the one that agents write.
        return t.to_microseconds(datetime.fromisoformat(date))
    except (ValueError, TypeError, OverflowError):
        moment = wire.parse_date(date)
        return present if moment is None else t.to_microseconds(moment)


def _metadata(metadata: Any) -> str | None:
    if not metadata:
        return None
    if not isinstance(metadata, dict):
        raise _Wrong("metadata", "must be an object")
    try:
        bodies.check_free_json(metadata)
    except ValueError as exc:
        raise _Wrong("metadata", str(exc)) from None
    return to_json(metadata)


_STORED = {
    "oneOf": [
        {"$ref": "#/components/schemas/LogEntryAnswer"},
        {
            "type": "object",
            "required": ["stored"],
            "properties": {"stored": {"type": "integer"}},
        },
    ]
}
_BODY_DOC = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/LogEntry"},
                        {
                            "type": "array",
                            "maxItems": MAX_ENTRIES,
                            "items": {"$ref": "#/components/schemas/LogEntry"},
                        },
                    ]
                }
            }
        },
    }
}


@resource.write(
    "POST",
    "/api/v1/tasks/{task_id}/logs",
    receive=_receive,
    largest=bodies.LARGE_BODY,
    answer=_STORED,
    status=201,
    doc=_BODY_DOC,
)
def store_logs(change: Change, received: tuple[list[Entry], bool], task_id: str) -> Any:
    """Store one log entry, or a list of up to 10,000, in their order: all or none."""
    entries, listed = received
    # Locked, so that two batches do not mingle on PostgreSQL.
    task = task_rows.lock(change, task_id)
    database, session_id = change.tables.database, task["session_id"]
    if entries:
        if not task["log_kept"]:
            database.update("tasks", {"log_kept": 1}, number=task["number"])
        changes = change.store.changes
        change.afterwards(lambda: changes.count_logs(task_id, session_id, len(entries)))
    if listed:
        log_rows.insert(database, task["number"], entries)
        return {"stored": len(entries)}
    row = {"task": task["number"], **log_rows.to_row(entries[0])}
    row["number"] = database.insert("log_entries", row)
    return _to_answer(row, task_id, session_id)


@resource.read(
    "/api/v1/tasks/{task_id}/logs",
    query=LogQuery,
    answer=LogEntryAnswer(many=True),
    doc={
        "responses": {"200": {"headers": {"Link": paging.HEADERS["Link"], **paging.PRUNED_HEADER}}}
    },
)
def list_logs(store: Store, query: dict[str, Any], task_id: str, *, request: Request) -> Any:
    """Return a page of a task's log, newest first unless ``order=asc``.

    Entries of a level other than INFO are found at once. Those of a source or a time are looked for
    one by one: that takes half a second for each million entries until the page is full.
    """
    task = task_rows.find(store.tables, task_id)
    session_id, size = task["session_id"], query["size"]
    listing = log_rows.listing(task["number"], query)
    places = listing.places(store.database, size + 1, query["page"] * size)
    response = paging.whole(
        store,
        listing.table,
        places[:size],
        lambda row: _to_answer(row, task_id, session_id),
    )
    if len(places) > size:
        bound = "before" if listing.newest_first else "after"
        where = {"size": str(size), bound: str(places[size - 1].number)}
        response.headers.update(paging.next_page(request, where))
    if task["log_pruned_at"] is not None:
        response.headers[paging.PRUNED] = t.date(task["log_pruned_at"]) or ""
    return response


@resource.read("/api/v1/tasks/{task_id}/logs/count", answer=CountAnswer)
def count_logs(store: Store, task_id: str) -> Any:
    """Return how many entries a task's log has."""
    task = task_rows.find(store.tables, task_id)
    entries = store.tables.log_entries
    count = entries.select().where(entries.task == task["number"]).count()
    pruned_at = t.date(task["log_pruned_at"])
    return {"count": count} if pruned_at is None else {"count": count, "prunedAt": pruned_at}


@resource.write("DELETE", "/api/v1/tasks/{task_id}/logs", status=204)
def delete_logs(change: Change, task_id: str) -> None:
    """Delete a task's log."""
    task = task_rows.lock(change, task_id)
    entries = change.tables.log_entries
    entries.delete().where(entries.task == task["number"]).execute()


def _to_answer(row: dict[str, Any], task_id: str, session_id: str) -> dict[str, Any]:
    return {
        "id": str(row["number"]),
        "taskId": task_id,
        "sessionId": session_id,
        "level": row["level"],
        "source": row["source"],
        "message": row["message"],
        "timestamp": t.date(row["logged_at"]),
        "metadata": t.from_json(row["metadata"]) or {},
    }
