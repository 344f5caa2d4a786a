"""Dataclasses that become plain JSON values and back, as the Agent Runner's users know them."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from marshmallow import Schema, ValidationError, fields

from keruta_agent.core import errors

MASK = "********"


class Record:
    """A dataclass that becomes plain JSON values and back.

    Paths are text there, enumerations their values, times ISO 8601.
    """

    #: Fields that leave as a mask and never come back.
    secret_fields: ClassVar[frozenset[str]] = frozenset()

    def to_dict(self) -> dict[str, Any]:
        """Return the values, ready for JSON; secrets are masked."""
        values = _schema_of(type(self))().dump(self)
        masked = {name: MASK for name in self.secret_fields if values.get(name)}
        return {**values, **masked}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the record that holds these values.

        Raises:
            TaskContextValidationError: a value is missing, of the wrong type, or unknown; the
                message names each.
        """
        try:
            values = _schema_of(cls)().load(data)
        except ValidationError as error:
            raise errors.TaskContextValidationError(
                f"cannot read a {cls.__name__}: {_listed(error.messages)}"
            ) from error
        return cls(**values)


#: The library's words, and plainer ones.
_WORDS: Final = {"Missing data for required field.": "it is missing"}


def _listed(messages: Any, path: str = "") -> str:
    if isinstance(messages, Mapping):
        return "; ".join(_listed(inner, f"{path}.{key}") for key, inner in messages.items())
    text = " ".join(map(str, messages))
    return f"{path.lstrip('.') or 'value'}: {_WORDS.get(text, text)}"


class _Text(fields.Field[str]):
    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        if not isinstance(value, str):
            raise ValidationError("It must be text.")
        return value


class _PathText(fields.Field[Path]):
    def _serialize(
        self, value: Path | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return None if value is None else str(value)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Path:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
            raise ValidationError("It must be a path.")
        return Path(value)


_PLAIN: dict[Any, Callable[..., fields.Field[Any]]] = {
    str: _Text,
    bool: functools.partial(fields.Boolean, truthy={True}, falsy={False}),
    int: functools.partial(fields.Integer, strict=True),
    float: fields.Float,
    Path: _PathText,
    datetime: fields.DateTime,
    Any: fields.Raw,
}


def _schema_of(record: type[Record]) -> type[Schema]:
    """Build the marshmallow schema of a dataclass from its annotations."""
    hints = typing.get_type_hints(record)
    declared: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast("Any", record)):
        is_required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        declared[field.name] = _field_of(hints[field.name], required=is_required)
    return Schema.from_dict(declared, name=record.__name__)


def _field_of(hint: Any, **options: Any) -> fields.Field[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return _field_of(inner, **{**options, "allow_none": True})
    if origin is list:
        return fields.List(_field_of(arguments[0]), **options)
    if origin is dict:
        return fields.Dict(keys=_Text(), **options)
    if isinstance(hint, type) and issubclass(hint, Record):
        return _NestedRecord(hint, **options)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return fields.Enum(hint, by_value=True, **options)
    if hint is Any:
        options["allow_none"] = True
    return _PLAIN[hint](**options)


class _NestedRecord(fields.Field[Any]):
    def __init__(self, record: type[Record], **options: Any) -> None:
        super().__init__(**options)
        self.record = record

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else value.to_dict()

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        if isinstance(value, self.record):
            return value
        if not isinstance(value, Mapping):
            raise ValidationError("It must be a mapping.")
        loaded = _schema_of(self.record)().load(value)
        return self.record(**loaded)
