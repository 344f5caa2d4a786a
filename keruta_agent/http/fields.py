"""The parts that schemas of requests and answers are made of.

Requests are read strictly (wrong types are refused, naming the field) and tolerantly (unknown
fields are dropped, null means left out), because clients differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, pre_load, validate

from keruta_agent.http.bodies import check_free_json, repair_text

#: Characters of names, which are shown in lists.
MAX_NAME = 1000

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


class RequestSchema(Schema):
    """What a client sends."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _drop_nulls(self, data: Any, **kwargs: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None}


class StrictRequestSchema(RequestSchema):
    """What a client sends that was written for this very API: a field it lacks is a mistake."""

    class Meta:
        unknown = RAISE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        there_are = ", ".join(sorted(self.load_fields))
        self.error_messages["unknown"] = f"There is no such field. There are: {there_are}."


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
