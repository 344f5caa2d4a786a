"""What a person types as the key and the value of a setting, and what of it goes into the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from marshmallow import ValidationError, fields

from keruta_agent.core import errors
from keruta_agent.core.settings import declaration, retired, schema
from keruta_agent.core.settings.fields import HttpUrl, Location, Names
from keruta_agent.core.settings.sources import quoted, with_unit
from keruta_agent.core.units import Duration, Size

IN_FILE: Final = {info.key: info for info in schema.SETTINGS if info.key is not None}


def setting_of(name: str) -> tuple[declaration.SettingInfo, bool]:
    """Return the setting of a key, or of a variable, and whether it was its variable.

    Raises:
        NotFound: there is none, or it has no place in the file.
    """
    if name in IN_FILE:
        return IN_FILE[name], False
    for info in schema.SETTINGS:
        if name in info.environment or name == info.name:
            if info.key is None:
                raise errors.NotFound(
                    f"{name} has no place in the config file",
                    advice=f"Set the variable {info.environment[0]}, or give {info.flag}",
                )
            return info, name in info.environment
    if name in retired.KEYS or name in retired.VARIABLES:
        raise errors.NotFound(
            f"{name} is a setting of the old runner",
            advice=retired.KEYS.get(name) or retired.VARIABLES[name],
        )
    raise errors.NotFound(f"there is no setting {name[:60]!r}", advice=_nearest(name))


def _nearest(name: str) -> str:
    variables = {each: key for key, info in IN_FILE.items() for each in info.environment}
    endings = {key.partition(".")[2]: key for key in IN_FILE}
    words = {**variables, **endings, **{key: key for key in IN_FILE}}
    import difflib  # for who has mistyped something

    near = difflib.get_close_matches(name, words, n=1)
    return f"Did you mean {words[near[0]]}?" if near else "See all of them: keruta config show"


def is_secret(info: declaration.SettingInfo, value: object) -> bool:
    """Return whether a value is for its owner's eyes: a token, or an address with a password."""
    if info.secret:
        return True
    return isinstance(_field(info), HttpUrl) and "@" in str(value)


def value_to_write(
    info: declaration.SettingInfo, text: str, *, of_variable: bool = False
) -> object:
    """Check a value and return what the file shall hold.

    Durations and sizes stay as they were written. A relative path counts from here, where it was
    typed, though one in the file counts from the file.

    Raises:
        SettingsError: it is no value for this setting.
    """
    field = _field(info)
    if isinstance(field, Names) and text.strip().startswith("[") and text.strip().endswith("]"):
        text = text.strip()[1:-1]
    if of_variable:
        text = with_unit(text.strip(), info)
    try:
        value: object = field.deserialize(text)
    except ValidationError as error:
        raise errors.SettingsError(
            f"Cannot set {info.key} {quoted(info, text)}", advice=str(error.messages[0])
        ) from None
    if isinstance(field, Duration | Size):
        return int(text) if text.strip().isdecimal() and text.isascii() else text.strip()
    if isinstance(field, Location) and isinstance(value, Path):
        return str(value) if value.parts[:1] == ("~",) else str(value.absolute())
    return list(value) if isinstance(value, tuple) else value


def _field(info: declaration.SettingInfo) -> fields.Field[Any]:
    return schema.SettingsSchema().fields[info.name]
