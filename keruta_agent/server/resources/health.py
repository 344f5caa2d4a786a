"""How the server is: routes that need no token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import peewee
from marshmallow import Schema, fields
from starlette.responses import Response

from keruta_agent.core import wire
from keruta_agent.http.request import Request
from keruta_agent.http.responses import json_value
from keruta_agent.http.routes import Answer
from keruta_agent.server.readiness import Readiness
from keruta_agent.server.routes import Resource
from keruta_agent.server.store.store import Store

resource = Resource("health", "How the server is")

#: Routes that answer without a token.
PATHS = frozenset({"/health", "/health/ready", "/api/v1/health"})


class HealthAnswer(Schema):
    """How the server is."""

    status = fields.String(required=True)
    timestamp = wire.AnyDate(required=True)
    message = fields.String(required=True)


@resource.read("/api/v1/health", answer=HealthAnswer)
def get_health(store: Store) -> Any:
    """Return whether the server and its database work."""
    return _look(store)


@resource.read("/health", answer=HealthAnswer)
def get_root_health(store: Store) -> Any:
    """Return whether the server and its database work, for older clients."""
    return _look(store)


def get_ready(request: Request) -> Response:
    """Return whether requests may be sent here: 503 without what they need, or before a stop.

    For what distributes requests to several servers.
    """
    readiness: Readiness = request.app.context.readiness
    obstacle = readiness.obstacle()
    body = {
        "status": "UP" if obstacle is None else "DOWN",
        "timestamp": wire.format_date(datetime.now(UTC)),
        "message": obstacle or "the server is ready",
    }
    return json_value(body, 200 if obstacle is None else 503)


def declare_ready(group: Resource) -> None:
    """Add the route of readiness to a group; its application has a context with a readiness."""
    # In threads that may wait: the others may all be waiting for the database that is looked at.
    group.declare(
        "GET", "/health/ready", get_ready, answer=HealthAnswer, also=(503, HealthAnswer), waits=True
    )


declare_ready(resource)


def _look(store: Store) -> Any:
    timestamp = wire.format_date(datetime.now(UTC))
    try:
        store.database.peewee.execute_sql("SELECT 1")
    except (peewee.DatabaseError, peewee.InterfaceError) as exc:
        message = f"the database does not answer: {type(exc).__name__}"
        return Answer(
            body={"status": "DOWN", "timestamp": timestamp, "message": message}, status=503
        )
    return {"status": "UP", "timestamp": timestamp, "message": "the embedded keruta API runs"}
