"""Durations and sizes as people write them: ``1m30s``, ``500ms``, ``100MB``.

A number without a unit is one of seconds, or of bytes. What is formatted here parses back to the
very same number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields

DURATION_EXAMPLES = "30 (seconds), 30s, 1m30s, 500ms, 2h or 7d"
SIZE_EXAMPLES = "100MB, 1.5GB, 64K or a whole number of bytes"

#: Seconds. A hundred years: beyond any sense, and still below what timers of the system take.
LONGEST_DURATION_S = 36_500 * 86_400.0
#: Bytes. The largest integer that SQLite stores.
LARGEST_SIZE = 2**63 - 1

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_BARE_NUMBER = re.compile(_NUMBER)
# "m" must not swallow the beginning of "ms".
_DURATION = re.compile(
    rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?"
)
_DURATION_FACTORS = (86_400.0, 3_600.0, 60.0, 1.0)
_SIZE = re.compile(rf"{_NUMBER} ?(b|k|kb|kib|m|mb|mib|g|gb|gib)?")
#: Powers of 1024 also without the "i", as the original agent counts.
_SIZE_FACTORS: Mapping[str, int] = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def parse_duration(raw: str | int | float) -> float:
    """Return the seconds that a text or a number of seconds means.

    Raises:
        ValueError: it is no duration, negative, or longer than a hundred years. The message does
            not repeat the value.
    """
    seconds = _duration_of_text(raw) if isinstance(raw, str) else _duration_of_number(raw)
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_DURATION_S):
        raise ValueError(f"It must be a duration such as {DURATION_EXAMPLES}")
    return seconds


def _duration_of_number(number: int | float) -> float:
    if isinstance(number, bool) or abs(number) > LONGEST_DURATION_S:
        return math.nan
    return float(number)


def _duration_of_text(raw: str) -> float:
    text = raw.strip().lower()
    if _BARE_NUMBER.fullmatch(text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return math.nan
    *counts, milliseconds = match.groups()
    seconds = sum(
        float(count) * factor
        for count, factor in zip(counts, _DURATION_FACTORS, strict=True)
        if count is not None
    )
    # Divided, not multiplied by 0.001: 300 / 1000 is the number that 0.3 is, 300 * 0.001 is not.
    return seconds + (float(milliseconds) / 1000 if milliseconds is not None else 0.0)


def format_duration(seconds: float) -> str:
    """Return the text that :func:`parse_duration` reads as these very seconds."""
    if seconds != int(seconds):
        return _format_fraction(seconds)
    parts = []
    rest = int(seconds)
    for unit, factor in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, factor)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _format_fraction(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    if seconds < 1 and milliseconds / 1000 == seconds:
        return f"{milliseconds}ms"
    # Through repr, the shortest digits that are this float; "f", because exponents are not read.
    return f"{Decimal(repr(seconds)):f}s"


def parse_size(raw: str | int | float) -> int:
    """Return the bytes that a text or a number of bytes means; part bytes are cut off.

    Raises:
        ValueError: it is no size, negative, or beyond 2**63 - 1. The message does not repeat the
            value.
    """
    size = _size_of_text(raw) if isinstance(raw, str) else _size_of_number(raw)
    if size is None or not 0 <= size <= LARGEST_SIZE:
        raise ValueError(f"It must be a size such as {SIZE_EXAMPLES}")
    return size


def _size_of_number(number: int | float) -> int | None:
    if isinstance(number, bool) or not math.isfinite(number) or number != int(number):
        return None
    return int(number)


def _size_of_text(raw: str) -> int | None:
    match = _SIZE.fullmatch(raw.strip().lower())
    if match is None:
        return None
    count, unit = Decimal(match[1]), match[2] or "b"
    if unit == "b" and count != count.to_integral_value():
        return None
    return int(count * _SIZE_FACTORS[unit[0]])


def format_size(size: int) -> str:
    """Return the text that :func:`parse_size` reads as these very bytes."""
    for unit in ("g", "m", "k"):
        count, rest = divmod(size, _SIZE_FACTORS[unit])
        if count and not rest:
            return f"{count}{unit.upper()}B"
    return f"{size}B"


class Duration(fields.Field[float]):
    """Seconds between two bounds, written as a duration."""

    def __init__(self, *, minimum_s: float = 0.0, maximum_s: float = LONGEST_DURATION_S) -> None:
        super().__init__()
        self.minimum_s = minimum_s
        self.maximum_s = maximum_s

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> float:
        # Anything that is not a number becomes text that cannot be a duration, with its message.
        raw = value if isinstance(value, str | int | float) else ""
        try:
            seconds = parse_duration(raw)
        except ValueError as error:
            raise ValidationError(str(error)) from None
        if not self.minimum_s <= seconds <= self.maximum_s:
            shortest, longest = format_duration(self.minimum_s), format_duration(self.maximum_s)
            raise ValidationError(f"It must be a duration from {shortest} to {longest}")
        return seconds

    def _serialize(
        self, value: float | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return None if value is None else format_duration(value)


class Size(fields.Field[int]):
    """Bytes, written as a size."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> int:
        raw = value if isinstance(value, str | int | float) else ""
        try:
            return parse_size(raw)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def _serialize(
        self, value: int | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return None if value is None else format_size(value)
