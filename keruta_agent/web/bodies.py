"""JSON bodies: read from requests that may hold anything, and written for every reader."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from flask import Request

from keruta_agent.web.problems import Problem

#: Bytes of a JSON body; artifacts are streamed and have no limit.
MAX_JSON_BODY = 64 * 1024 * 1024
#: How deep free JSON objects may be nested: deeper ones break writers of JSON.
MAX_DEPTH = 50


def read_json(request: Request) -> Any:
    """Returns the JSON value of the body; None when there is no body.

    Raises:
        Problem: it is not JSON, or is not called JSON.
    """
    raw = request.get_data(cache=False)
    if not raw:
        return None
    if not request.is_json:
        # 415 would be taken for a missing route by clients of other servers.
        raise Problem(400, "INVALID_INPUT", "the body must be sent as application/json")
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except RecursionError:
        raise Problem(400, "INVALID_INPUT", "the body is nested too deeply") from None
    except ValueError as exc:
        raise Problem(400, "INVALID_INPUT", f"the body is not JSON: {exc}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def check_free_json(value: object, depth: int = 0) -> None:
    """Checks that a JSON value can be stored and written again.

    Raises:
        ValueError: it is nested too deeply, or holds a number that JSON cannot write.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"Nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, dict):
        value = value.values()
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("Holds a number that is too large.")
    elif not isinstance(value, list):
        return
    for item in value:
        check_free_json(item, depth + 1)


def repair_text(text: str) -> str:
    """Returns text that every database stores: NUL and half surrogates become U+FFFD."""
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
    """Returns a JSON value as it is stored and sent.

    ASCII only: half surrogates and NUL, which JSON may carry but a database may not, stay escaped.
    """
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
