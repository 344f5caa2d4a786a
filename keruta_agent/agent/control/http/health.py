"""Whether the daemon lives and works; the two routes that need no token reveal nothing more."""

from __future__ import annotations

import sqlite3
from typing import Any

from marshmallow import Schema, fields

from keruta_agent.agent.control.http.routes import Resource
from keruta_agent.agent.control.http.services import Services
from keruta_agent.http.routes import Answer

resource = Resource("health", "Whether the daemon lives and works")


class LivenessAnswer(Schema):
    """Whether the daemon answers, or works."""

    status = fields.String(required=True, metadata={"enum": ["UP", "DOWN"]})


class HealthAnswer(LivenessAnswer):
    """Whether the daemon works, and what keeps it from that."""

    hindrances = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


@resource.route("GET", "/api/v1/health", answer=HealthAnswer, also=(503, HealthAnswer))
def get_health(services: Services) -> Any:
    """Return whether the daemon works, and if not, why."""
    found = _hindrances(services)
    body = {"status": "DOWN" if found else "UP", "hindrances": found}
    return Answer(body=body, status=503 if found else 200)


@resource.route("GET", "/api/v1/health/live", answer=LivenessAnswer)
def get_liveness(services: Services) -> Any:
    """Answer that the daemon is alive."""
    return {"status": "UP"}


@resource.route("GET", "/api/v1/health/ready", answer=LivenessAnswer, also=(503, LivenessAnswer))
def get_readiness(services: Services) -> Any:
    """Return whether the daemon can take and run tasks: database, workers and session."""
    if _hindrances(services):
        return Answer(body={"status": "DOWN"}, status=503)
    return {"status": "UP"}


def _hindrances(services: Services) -> dict[str, str]:
    found = dict(services.hindrances())
    try:
        services.agent.records.jobs.has_open()
    except sqlite3.Error as exc:
        found["database"] = f"the database does not answer: {type(exc).__name__}"
    return found
