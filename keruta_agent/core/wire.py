"""JSON to model and back: the wire as both the client and the embedded server speak it.

Reading is tolerant, because servers differ: unknown fields are dropped, dates come as arrays, ISO
text or epoch numbers. Writing is strict: ISO dates with a zone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, pre_load

from keruta_agent.core import model

#: Epoch numbers above this are milliseconds: as seconds it would be the year 5138.
EPOCH_MILLISECONDS_ABOVE = 1e11

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Entity = TypeVar("_Entity")


def parse_date(raw: object) -> datetime | None:
    """Read a date in any encoding that a keruta server uses; None when it is none of them.

    A date never fails a poll: what cannot be read counts as missing. Without a zone it means UTC.
    """
    try:
        if isinstance(raw, bool) or raw is None:
            return None
        if isinstance(raw, int | float):
            return _from_epoch(float(raw))
        if isinstance(raw, str):
            return _from_iso(raw)
        if isinstance(raw, list | tuple):
            return _from_array(list(raw))
    except (ValueError, OverflowError, TypeError):
        return None
    return None


def _from_epoch(number: float) -> datetime:
    seconds = number / 1000 if abs(number) > EPOCH_MILLISECONDS_ABOVE else number
    return _EPOCH + timedelta(seconds=seconds)


def _from_iso(text: str) -> datetime:
    text = text.strip()
    head, dot, tail = text.partition(".")
    if dot:
        # Servers print up to nine fraction digits; Python keeps six.
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        text = f"{head}.{digits[:6].ljust(6, '0')}{tail[len(digits) :]}"
    parsed = datetime.fromisoformat(text)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _from_array(parts: list[Any]) -> datetime:
    if not 3 <= len(parts) <= 7 or not all(type(part) is int for part in parts):
        raise ValueError("not a date array")
    year, month, day, hour, minute, second, nanoseconds = parts + [0] * (7 - len(parts))
    return datetime(year, month, day, hour, minute, second, nanoseconds // 1000, tzinfo=UTC)


def format_date(moment: datetime | None) -> str | None:
    """Write a date as ISO 8601 in UTC with milliseconds or more digits, as needed."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


class AnyDate(fields.Field[Any]):
    """A date in any of the servers' encodings; written as ISO 8601."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return format_date(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return parse_date(value)


class Text(fields.Field[str]):
    """Text where null means empty and numbers are taken as text: servers differ."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else str(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValidationError("Not a valid text.")
        # JSON can hold half a surrogate pair; no file, database or terminal can.
        return str(value).encode("utf-8", errors="replace").decode("utf-8")


class TaskStatusField(fields.Field[model.TaskStatus]):
    """A task's state under any of its names."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str:
        return str(value)

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> model.TaskStatus:
        try:
            return model.parse_task_status(value)
        except (ValueError, AttributeError) as exc:
            names = ", ".join(model.TaskStatus)
            raise ValidationError(f"Must be one of: {names}.") from exc


class LogLevelField(fields.Field[model.LogLevel]):
    """A log level under any of its names."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str:
        return str(value)

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> model.LogLevel:
        try:
            return model.parse_log_level(value)
        except (ValueError, AttributeError) as exc:
            names = ", ".join(model.LogLevel)
            raise ValidationError(f"Must be one of: {names}.") from exc


class _TolerantSchema(Schema):
    """A schema of what a server sends: unknown fields are dropped, null means missing."""

    class Meta:
        unknown = EXCLUDE

    #: The model class that a loaded mapping becomes.
    entity: type[Any]

    @pre_load
    def _drop_nulls(self, data: Any, **kwargs: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None}

    @post_load
    def _build(self, data: dict[str, Any], **kwargs: Any) -> Any:
        known = {field.name for field in dataclasses.fields(self.entity)}
        return self.entity(**{name: value for name, value in data.items() if name in known})


class TaskSchema(_TolerantSchema):
    """A task, as every dialect writes it."""

    entity = model.Task

    id = Text(required=True)
    session_id = Text(data_key="sessionId")
    parent_task_id = Text(data_key="parentTaskId", allow_none=True)
    name = Text()
    description = Text()
    script = Text()
    status = TaskStatusField()
    message = Text()
    progress = fields.Integer()
    error_code = Text(data_key="errorCode")
    parameters = fields.Dict(keys=fields.String())
    priority = fields.Integer()
    claimed_by = Text(data_key="claimedBy", allow_none=True)
    created_at = AnyDate(data_key="createdAt", allow_none=True)
    updated_at = AnyDate(data_key="updatedAt", allow_none=True)

    @pre_load
    def _accept_old_names(self, data: Any, **kwargs: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        renamed = dict(data)
        for new, old in (("name", "title"), ("message", "errorMessage")):
            if not renamed.get(new) and renamed.get(old):
                renamed[new] = renamed[old]
        return renamed


class SessionSchema(_TolerantSchema):
    """A session; the repository is at the top level or inside ``templateConfig``."""

    entity = model.Session

    id = Text(required=True)
    name = Text()
    status = Text()
    description = Text()
    tags = fields.List(fields.String())
    workspace_id = Text(data_key="workspaceId", allow_none=True)
    repository_url = Text(data_key="repositoryUrl", allow_none=True)
    repository_ref = Text(data_key="repositoryRef", allow_none=True)
    template_config = fields.Dict(data_key="templateConfig", allow_none=True)
    created_at = AnyDate(data_key="createdAt", allow_none=True)
    updated_at = AnyDate(data_key="updatedAt", allow_none=True)

    @pre_load
    def _find_repository(self, data: Any, **kwargs: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        found = dict(data)
        template = data.get("templateConfig")
        if isinstance(template, Mapping):
            for name in ("repositoryUrl", "repositoryRef"):
                found[name] = found.get(name) or template.get(name)
        if isinstance(found.get("status"), str):
            found["status"] = found["status"].upper()
        return found


class LogEntrySchema(_TolerantSchema):
    """One log entry."""

    entity = model.LogEntry

    level = LogLevelField(load_default=model.LogLevel.INFO)
    message = fields.String(required=True)
    source = fields.String(load_default="task")
    timestamp = AnyDate(allow_none=True)
    metadata = fields.Dict(keys=fields.String())


class ScriptSchema(_TolerantSchema):
    """The inner object of the script route's answer."""

    entity = model.Script

    content = fields.String(required=True)
    language = Text()
    filename = Text()
    parameters = fields.Dict(keys=fields.String())


def load(schema: Schema, data: object, kind: type[_Entity]) -> _Entity:
    """Read one object of a known kind.

    Raises:
        ValidationError: it does not have the required fields.
    """
    entity = schema.load(data)  # type: ignore[arg-type]
    if not isinstance(entity, kind):
        raise ValidationError(f"Not a {kind.__name__}.")
    return entity
