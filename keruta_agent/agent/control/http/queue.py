"""The daemon as a whole: what it does, and whether further jobs may start."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from keruta_agent.agent.control.commands import PAUSED_BY_A_PERSON, Pause, Resume, Status
from keruta_agent.agent.control.http.input import QuestionAnswer
from keruta_agent.agent.control.http.routes import Resource
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.table import execute
from keruta_agent.core import wire
from keruta_agent.http.fields import Name, StrictRequestSchema

resource = Resource("queue", "What the daemon does, and whether further jobs may start")


class CurrentAnswer(Schema):
    """The job that runs."""

    job = fields.Integer(required=True)
    task = fields.String(required=True, allow_none=True)
    name = fields.String(required=True)
    run = fields.Integer(required=True)
    since = wire.AnyDate(required=True)
    running_s = fields.Float(required=True)
    progress = fields.Integer(required=True)
    progress_message = fields.String(required=True)


class OutboxAnswer(Schema):
    """What has yet to be sent to the API."""

    pending = fields.Integer(required=True)
    parked = fields.Integer(required=True)
    oldest_s = fields.Float(required=True, allow_none=True)


class StatusAnswer(Schema):
    """What the daemon does."""

    pid = fields.Integer(required=True)
    version = fields.String(required=True)
    python = fields.String(required=True)
    started_at = wire.AnyDate(required=True)
    session = fields.String(required=True, allow_none=True)
    standby = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The agent that serves the session while this one stands by."},
    )
    api = fields.String(
        required=True, allow_none=True, metadata={"description": "Address of the keruta API."}
    )
    running = fields.Integer(required=True, allow_none=True)
    current = fields.Nested(CurrentAnswer, required=True, allow_none=True)
    questions = fields.List(fields.Nested(QuestionAnswer), required=True)
    paused = fields.String(required=True, allow_none=True)
    jobs = fields.Dict(keys=fields.String(), values=fields.Integer(), required=True)
    outbox = fields.Nested(OutboxAnswer, required=True)
    session_problem = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Why it is not known which session to serve."},
    )
    api_away = fields.Boolean(required=True)
    disk_problem = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "What is wrong with the disk of the base directory."},
    )
    api_problem = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Why the API does not answer or take reports."},
    )
    api_reachable = fields.Boolean(required=True, allow_none=True)
    http = fields.String(required=True, allow_none=True)


class PauseDraft(StrictRequestSchema):
    """Why no job may start; shown with the status."""

    reason = Name(load_default=PAUSED_BY_A_PERSON)


class PausedAnswer(Schema):
    """Why no job starts, null when jobs do."""

    paused = fields.String(required=True, allow_none=True)
    running = fields.Integer(required=True)


@resource.route("GET", "/api/v1/status", answer=StatusAnswer)
def get_status(services: Services) -> Any:
    """Return what the daemon does at the moment."""
    return services.agent.redaction.own.redact_value(execute(services.control, Status()))


@resource.route("POST", "/api/v1/pause", body=PauseDraft, answer=PausedAnswer)
def pause(services: Services, draft: dict[str, Any]) -> Any:
    """Start no further job; the running one goes on."""
    return PausedAnswer().dump(execute(services.control, Pause(reason=draft["reason"])))


@resource.route("POST", "/api/v1/resume", answer=PausedAnswer)
def resume(services: Services) -> Any:
    """Start jobs again."""
    return PausedAnswer().dump(execute(services.control, Resume()))
