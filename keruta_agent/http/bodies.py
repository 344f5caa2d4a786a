"""JSON bodies: read from requests that may hold anything, and written for every reader."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from keruta_agent.core import bounded_json
from keruta_agent.http.problems import Problem

if TYPE_CHECKING:
    from keruta_agent.http.request import Request

#: Bytes of a body that carries a script or lines of a log. Artifacts are streamed.
LARGE_BODY = 16 * 1024 * 1024
#: Bytes of any other body.
SMALL_BODY = 1024 * 1024
#: Values of a free JSON object, which is read and written again each time that somebody looks at
#: it. More than a line of a log holds that is JSON: agents send those as they are.
MAX_FREE_VALUES = 50_000
#: How deep free JSON objects may be nested: deeper ones break writers of JSON.
MAX_DEPTH = 50


_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def read_json(request: Request, *, most_values: int = bounded_json.MOST_VALUES) -> Any:
    """Return the JSON value of the body; None when there is no body.

    Raises:
        Problem: it is not JSON, is not called JSON, or holds too many values.
    """
    if not request.content:
        return None
    if not request.is_json:
        # 415 would be taken for a missing route by clients of other servers.
        raise Problem(400, "INVALID_INPUT", "the body must be sent as application/json")
    try:
        return bounded_json.loads(
            request.content, most_values=most_values, parse_constant=_refuse_constant
        )
    except bounded_json.TooManyValuesError as exc:
        raise Problem(413, "BODY_TOO_LARGE", f"the body is too large: {exc}") from None
    except ValueError as exc:
        raise Problem(400, "INVALID_INPUT", f"the body is not JSON: {exc}") from None


def too_large(largest: int) -> Problem:
    """Return the refusal of a body with more bytes than this."""
    return Problem(413, "BODY_TOO_LARGE", f"the body is larger than {largest} bytes")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def check_free_json(value: object) -> None:
    """Check that a JSON value can be stored and written again.

    Raises:
        ValueError: it is nested too deeply, holds too many values, or a number that JSON cannot
            write.
    """
    count = 0
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
            elif isinstance(item, float) and not math.isfinite(item):
                raise ValueError("Holds a number that is too large.")
        count += len(inner)
        if count > MAX_FREE_VALUES:
            raise ValueError(f"Holds more than {MAX_FREE_VALUES} values.")
        if not inner:
            return
        level = inner
    raise ValueError(f"Nested more than {MAX_DEPTH} levels deep.")


def repair_text(text: str) -> str:
    """Return text that every database stores: NUL and half surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = "".join("\ufffd" if "\ud800" <= mark <= "\udfff" else mark for mark in text)
    return text


def to_json(value: object) -> str:
    """Return a JSON value as it is stored and sent.

    ASCII only: half surrogates and NUL, which JSON may carry but a database may not, stay escaped.
    """
    return _ENCODER.encode(value)
