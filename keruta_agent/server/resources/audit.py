"""The route of the audit log, for admins."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from keruta_agent.core import wire
from keruta_agent.http.request import Request
from keruta_agent.server import paging
from keruta_agent.server.routes import Resource
from keruta_agent.server.store import audit_rows
from keruta_agent.server.store.ranges import Range
from keruta_agent.server.store.store import Store

resource = Resource("audit", "What people have changed, and whom the server has refused")


class AuditAnswer(Schema):
    """Who did what, when, from where."""

    id = fields.String(required=True)
    at = wire.AnyDate(required=True)
    token = fields.String(
        required=True, metadata={"description": "Its name; empty where none was shown."}
    )
    role = fields.String(required=True)
    address = fields.String(required=True)
    method = fields.String(required=True)
    path = fields.String(required=True)
    target = fields.String(required=True, metadata={"description": "What it touched."})
    status = fields.Integer(
        required=True,
        metadata={"description": "200: it was done; else the status of the refusal."},
    )
    detail = fields.String(required=True, metadata={"description": "Why it was refused."})


@resource.read(
    "/api/v1/audit",
    query=paging.PageQuery,
    answer=AuditAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_audit(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List the audit log, the newest entry first.

    It holds the writes of people, logins, and refusals (401, 403), and not what agents do.
    """
    return paging.respond(request, Range(table="audit"), query, audit_rows.to_answer)
