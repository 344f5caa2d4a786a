"""How a setting is declared: its marshmallow field, and what is known about it.

It stands apart from the settings themselves, which are more than one file.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from marshmallow import fields as marshmallow_fields

from keruta_agent.core.settings.fields import HttpUrl

DAY_S = 86_400.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SettingInfo:
    """What is known about one setting apart from its value."""

    #: Attribute of :class:`Settings`.
    name: str
    #: Dotted key in the config file; None when the setting has no place there.
    key: str | None
    #: Variables that set it, the strongest first.
    environment: tuple[str, ...]
    help: str
    #: Whether its value must never be shown.
    secret: bool
    #: As one would write it in the config file; None when there is none.
    default: object
    #: Option of the command line, for messages.
    flag: str
    #: Unit of a bare number in the variable, where that differs from the file's.
    environment_unit: str = ""


def setting(
    field: marshmallow_fields.Field[Any],
    *,
    help: str,
    key: str | None = None,
    environment: tuple[str, ...] = (),
    default: object = None,
    secret: bool = False,
    **details: str,
) -> Any:
    """Declare a setting: a field of the dataclass that carries its marshmallow field."""
    field.required = True
    field.allow_none = default is None
    field.metadata = {
        "key": key,
        "environment": environment,
        "help": help,
        "default": default,
        "secret": secret,
        **details,
    }
    # An address may hold a password, so it stays out of the repr like the token.
    hidden = secret or isinstance(field, HttpUrl)
    return dataclasses.field(repr=not hidden, metadata={"field": field})
