"""What is sent to and answered by the routes about jobs."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from keruta_agent.agent.store.jobs import JobState
from keruta_agent.core import wire
from keruta_agent.http.bodies import repair_text
from keruta_agent.http.fields import Name, Priority, RequestSchema, StrictRequestSchema

MOST_JOBS: Final = 1000


class JobsQuery(RequestSchema):
    """Which jobs."""

    state = fields.String(validate=validate.OneOf([state.value for state in JobState]))
    limit = fields.Integer(
        load_default=100, strict=False, validate=validate.Range(min=1, max=MOST_JOBS)
    )


class Plain(fields.String):
    """Text that reaches programs of the system: nothing that these cannot be given."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs) or ""
        if repair_text(text) != text:
            raise ValidationError("Must not hold NUL or half surrogates.")
        return text


class VariableName(Plain):
    """Name of an environment variable."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not text or "=" in text:
            raise ValidationError("Must not be empty and hold no equals sign.")
        return text


class JobDraft(StrictRequestSchema):
    """A script or a command to run; one of both."""

    name = Name()
    priority = Priority(load_default=0)
    script = Plain(metadata={"description": "Its first line may name what runs it."})
    command = fields.List(
        Plain(), validate=validate.Length(min=1), metadata={"description": "Program and arguments."}
    )
    directory = Plain(
        metadata={"description": "Where it runs; absolute. The agent's own working directory else."}
    )
    environment = fields.Dict(keys=VariableName(), values=Plain(), load_default=dict)

    @validates_schema
    def _check_work(self, data: dict[str, Any], **kwargs: Any) -> None:
        script, command = data.get("script"), data.get("command")
        if (script is None) == (command is None):
            raise ValidationError("Give either a script or a command.", "script")
        if script is not None and not script.strip():
            raise ValidationError("Must not be blank.", "script")
        if command is not None and not command[0].strip():
            raise ValidationError("Must begin with a program.", "command")
        if not data.get("directory", "/").startswith("/"):
            raise ValidationError("Must be an absolute path.", "directory")


class PriorityDraft(StrictRequestSchema):
    """A place in the order."""

    priority = Priority(required=True)


class UsageAnswer(Schema):
    """What a run used, over all its processes; seconds and bytes."""

    wall_s = fields.Float(required=True, allow_none=True)
    user_s = fields.Float(required=True)
    system_s = fields.Float(required=True)
    peak_memory_bytes = fields.Integer(required=True)
    average_memory_bytes = fields.Integer(required=True, allow_none=True)
    read_bytes = fields.Integer(required=True)
    write_bytes = fields.Integer(required=True)
    peak_processes = fields.Integer(required=True)


class ArtifactAnswer(Schema):
    """A file that a job left."""

    path = fields.String(required=True)
    size = fields.Integer(required=True)
    sha256 = fields.String(required=True)
    content_type = fields.String(required=True)
    description = fields.String(required=True)
    state = fields.String(required=True)
    reason = fields.String(required=True)


class RunAnswer(Schema):
    """One execution of a job."""

    number = fields.Integer(required=True)
    started_at = wire.AnyDate(required=True)
    ended_at = wire.AnyDate(required=True, allow_none=True)
    outcome = fields.String(required=True, allow_none=True)
    exit_code = fields.Integer(required=True, allow_none=True)
    signal = fields.Integer(required=True, allow_none=True)
    message = fields.String(required=True)
    progress = fields.Integer(required=True)
    progress_message = fields.String(required=True)
    usage = fields.Nested(UsageAnswer, required=True, allow_none=True)


class JobSummary(Schema):
    """A job."""

    id = fields.Integer(required=True)
    task = fields.String(required=True, allow_none=True)
    session = fields.String(required=True)
    name = fields.String(required=True)
    priority = fields.Integer(required=True)
    state = fields.String(required=True)
    outcome = fields.String(required=True, allow_none=True)
    message = fields.String(required=True)
    exit_code = fields.Integer(required=True, allow_none=True)
    filed_at = wire.AnyDate(required=True)
    finished_at = wire.AnyDate(required=True, allow_none=True)
    stop_reason = fields.String(required=True, allow_none=True)


class JobAnswer(JobSummary):
    """A job with its runs and artifacts."""

    runs = fields.List(fields.Nested(RunAnswer), required=True)
    artifacts = fields.List(fields.Nested(ArtifactAnswer), required=True)
    unsent = fields.Integer(
        required=True, metadata={"description": "Messages that have yet to reach the API."}
    )


class NewJobAnswer(Schema):
    """Number of a job that was queued."""

    job = fields.Integer(required=True)


class CancelAnswer(NewJobAnswer):
    """A job that was cancelled, and the state in which it was."""

    was = fields.String(required=True)


class AgainAnswer(Schema):
    """What a job became that runs once more."""

    job = fields.Integer(required=True, allow_none=True)
    task = fields.String(required=True, allow_none=True)


class PlaceAnswer(NewJobAnswer):
    """A job's place in the order, 1 for the next one; null when it waits for its time."""

    priority = fields.Integer(required=True)
    place = fields.Integer(required=True, allow_none=True)
