"""JSON from untrusted sources, parsed in bounded memory.

A byte of text can become thirty bytes of objects: ``[{},{},...]`` of 31 MB takes 1 GB once it is
read. So the values are counted before they are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

#: Values of one document; each takes about a hundred bytes.
MOST_VALUES: Final = 200_000

#: Also one without an end, so that each character is looked at once, whatever the text.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


class TooManyValuesError(ValueError):
    """A document holds more values than are read."""


def loads(
    text: str | bytes,
    *,
    most_values: int = MOST_VALUES,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """Return what a text says.

    Raises:
        TooManyValuesError: it says too much.
        ValueError: it is not JSON, or nested more deeply than can be read.
    """
    if isinstance(text, bytes | bytearray):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    # What stands in strings counts too: fast, and seldom too much.
    if _values(text) > most_values and _values(_STRING.sub("", text)) > most_values:
        raise TooManyValuesError(f"it holds more than {most_values} values")
    try:
        return json.loads(text, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _values(text: str) -> int:
    return 1 + text.count(",") + text.count("[") + text.count("{")
