"""Lines that logging libraries write as JSON: level, message and fields.

Such a line is one JSON object with a text under ``message``, ``msg`` or ``event`` and a level
that is one under ``level``, ``severity``, ``lvl``, ``levelname`` or ``log.level``. Whatever is not
clearly that stays the text that it is: a line is never worth an exception.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from keruta_agent.core.model import LogLevel, parse_log_level

MESSAGE_NAMES: Final = ("message", "msg", "event")
LEVEL_NAMES: Final = ("level", "severity", "lvl", "levelname", "log.level")
#: Levels as bunyan and pino number them.
_NUMBERED: Final = {
    10: LogLevel.DEBUG,
    20: LogLevel.DEBUG,
    30: LogLevel.INFO,
    40: LogLevel.WARN,
    50: LogLevel.ERROR,
    60: LogLevel.FATAL,
}
#: Names that libraries use and keruta does not.
_ALSO: Final = {
    "INFORMATION": LogLevel.INFO,
    "NOTICE": LogLevel.INFO,
    "VERBOSE": LogLevel.DEBUG,
    "ERR": LogLevel.ERROR,
    "CRIT": LogLevel.FATAL,
    "ALERT": LogLevel.FATAL,
    "EMERGENCY": LogLevel.FATAL,
    "DPANIC": LogLevel.FATAL,
}
#: How deep the fields may be nested: servers refuse more, and with it the whole request.
DEEPEST: Final = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class StructuredLine:
    """What a JSON line says."""

    level: LogLevel
    message: str
    fields: Mapping[str, Any]


def recognise(line: str) -> StructuredLine | None:
    """Return what a line says, or None when it is not an entry of a structured log."""
    line = line.strip()
    if not (line.startswith("{") and line.endswith("}")):
        return None
    try:
        found = json.loads(
            line,
            parse_constant=_refuse,
            parse_float=_finite,
            object_pairs_hook=_without_doubles,
        )
    except (ValueError, RecursionError):
        return None
    level_name = next((name for name in LEVEL_NAMES if name in found), None)
    message_name = next((name for name in MESSAGE_NAMES if name in found), None)
    if level_name is None or message_name is None or not isinstance(found[message_name], str):
        return None
    level = _level(found[level_name])
    fields = {
        name: value for name, value in found.items() if name not in (level_name, message_name)
    }
    # Only an escape can hold half a character; numbers were looked at when they were read.
    can_travel = _can_travel(found) if "\\" in line else _is_shallow(found, DEEPEST)
    if level is None or not can_travel:
        return None
    return StructuredLine(level=level, message=found[message_name], fields=fields)


def safe_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return fields that every server can store: what cannot be written as JSON becomes text."""
    if _can_travel(fields):
        return fields
    return {"fields": repr(dict(fields)).encode("utf-8", "replace").decode()}


def _level(value: object) -> LogLevel | None:
    if isinstance(value, int):
        return _NUMBERED.get(value)
    if not isinstance(value, str):
        return None
    try:
        return _ALSO.get(value.upper()) or parse_log_level(value)
    except ValueError:
        return None


def _can_travel(value: object) -> bool:
    """Return whether a value can be written as JSON in UTF-8, and be read by a server."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError):
        return False
    return _is_shallow(value, DEEPEST)


def _is_shallow(value: object, depth: int) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, list):
        return True
    return depth > 0 and all(_is_shallow(item, depth - 1) for item in value)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("the number is too large")
    return number


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice: one value would be lost")
    return found
