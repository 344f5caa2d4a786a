"""Routes for the measurements of a task's runs."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, post_load

from keruta_agent.core import wire
from keruta_agent.http.bodies import check_free_json, to_json
from keruta_agent.http.request import Request
from keruta_agent.server import paging
from keruta_agent.server.routes import Resource
from keruta_agent.server.store import tables as t
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.ranges import Range
from keruta_agent.server.store.store import Change, Store

resource = Resource("metrics", "Measurements of a task's runs")


class MetricsDraft(Schema):
    """Any JSON object."""

    class Meta:
        unknown = INCLUDE

    @post_load
    def _check(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        try:
            check_free_json(data)
        except ValueError as exc:
            raise ValidationError(str(exc)) from None
        return data


class MetricsAnswer(Schema):
    """One set of measurements."""

    id = fields.String(required=True)
    task_id = fields.String(required=True, data_key="taskId")
    metrics = fields.Dict(required=True)
    timestamp = wire.AnyDate(required=True)


@resource.write(
    "POST", "/api/v1/tasks/{task_id}/metrics", body=MetricsDraft, answer=MetricsAnswer, status=201
)
def store_metrics(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Store a JSON object of measurements."""
    task = task_rows.find(change.tables, task_id)
    row = {"task": task["number"], "data": to_json(draft), "created_at": t.now()}
    number = change.tables.metrics.insert(**row).execute()
    return _to_answer(row | {"number": number}, task_id)


@resource.read(
    "/api/v1/tasks/{task_id}/metrics",
    query=paging.PageQuery,
    answer=MetricsAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_metrics(store: Store, query: dict[str, Any], task_id: str, *, request: Request) -> Any:
    """List a task's measurements, newest first."""
    task = task_rows.find(store.tables, task_id)
    listing = Range(table="metrics", prefix={"task": task["number"]}, texts=("data",))
    return paging.respond(request, listing, query, lambda row: _to_answer(row, task_id))


def _to_answer(row: dict[str, Any], task_id: str) -> dict[str, Any]:
    return {
        "id": str(row["number"]),
        "taskId": task_id,
        "metrics": t.from_json(row["data"]),
        "timestamp": t.date(row["created_at"]),
    }
