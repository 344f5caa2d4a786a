"""The parts that the requests' and answers' schemas are made of.

Requests are read strictly (wrong types are refused, naming the field) and tolerantly (unknown
fields are dropped, null means left out), because clients differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validate

from keruta_agent import wire
from keruta_agent.server.bodies import check_free_json, repair_text

#: Characters of names, which are shown in lists.
MAX_NAME = 1000
MAX_ID = 200

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


class Name(fields.String):
    """One line that identifies something: not blank, and nothing in it that cannot be stored."""

    def __init__(self, *, max_length: int = MAX_NAME, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=1, max=max_length), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text is None or not text.strip():
            raise ValidationError("Must not be blank.")
        if _UNSTORABLE.search(text):
            raise ValidationError("Must not hold NUL or half surrogates.")
        return text


class Identifier(fields.String):
    """An id that a client chooses: it has to fit into paths."""

    def __init__(self, **kwargs: Any) -> None:
        rule = validate.Regexp(
            # Python's "$" alone would let a line end pass; "\Z" is unknown to OpenAPI.
            rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID - 1}}}$(?!\n)",
            error="Must be letters, digits, '.', '_' and '-', and begin with a letter or digit.",
        )
        super().__init__(validate=rule, **kwargs)


class FreeText(fields.String):
    """Text that a script or a person wrote: repaired rather than refused."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return repair_text(super()._deserialize(value, attr, data, **kwargs) or "")


class FreeObject(fields.Dict):
    """A JSON object whose contents are the clients' own business."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(keys=fields.String(), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        found = super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]
        try:
            check_free_json(found)
        except ValueError as exc:
            raise ValidationError(str(exc)) from None
        return found


class Percent(fields.Integer):
    """Progress, 0 to 100."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(min=0, max=100), **kwargs)


class Priority(fields.Integer):
    """Higher runs first; fits a 32-bit column."""

    def __init__(self, **kwargs: Any) -> None:
        whole = validate.Range(min=-(2**31), max=2**31 - 1)
        super().__init__(strict=True, validate=whole, **kwargs)


class Request(Schema):
    """What a client sends."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _drop_nulls(self, data: Any, **kwargs: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None}


class ErrorDetail(Schema):
    """What is wrong; codes end in ``_NOT_FOUND`` where an id is unknown."""

    code = fields.String(required=True)
    message = fields.String(required=True)
    status = fields.Integer(required=True)
    field = fields.String(metadata={"description": "The field that is wrong."})
    current = fields.String(metadata={"description": "The state that holds."})
    asked = fields.String(metadata={"description": "The state that cannot follow it."})


class ErrorAnswer(Schema):
    """Every refusal."""

    error = fields.Nested(ErrorDetail, required=True)


class TaskAnswer(wire.TaskSchema):
    """A task; ``title`` is another name of ``name`` (contract 3)."""

    title = wire.Text(attribute="name", dump_only=True)


class SessionAnswer(wire.SessionSchema):
    """A session (contract 3.1)."""
