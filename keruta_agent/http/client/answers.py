"""What an HTTP answer means: errors with one readable line, and the JSON inside.

Servers and the proxies before them answer in at least seven shapes; whatever comes, a person gets
one short line and the caller gets one error of the ``ApiError`` family.
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from keruta_agent.core import errors
from keruta_agent.http.client import redirects

#: Longer explanations of a server are cut: a message is one line on a terminal.
DETAIL_LIMIT = 200  # characters

HTML_HINT = "it answered HTML instead of JSON: is KERUTA_API_URL the API?"

_OVERLOAD_STATUSES = frozenset({429, 502, 503, 504})
_WHITE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]+")


def is_html(response: requests.Response) -> bool:
    """Return whether the answer is a web page, which no route of the API ever sends."""
    if "html" in response.headers.get("Content-Type", "").lower():
        return True
    start = response.content[:200].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html"))


def parsed(response: requests.Response) -> object:
    """Return the JSON of an answer.

    Raises:
        ValueError: it holds none, or none that could be read.
    """
    try:
        return response.json()
    except RecursionError as exc:
        raise ValueError("it is nested too deeply") from exc


def body_of(response: requests.Response) -> object:
    """Return the JSON of an answer, or None when it holds none."""
    try:
        return parsed(response)
    except ValueError:
        return None


def json_of(response: requests.Response, action: str) -> Any:
    """Return the JSON of a successful answer, out of its envelope if it came in one.

    Raises:
        ApiFailed: the answer is empty, a web page or not JSON.
    """
    try:
        body = parsed(response)
    except ValueError as exc:
        if is_html(response):
            reason = HTML_HINT
        elif response.content.strip():
            reason = "it answered something that is not JSON: is KERUTA_API_URL the API?"
        else:
            reason = "it answered nothing where JSON was expected"
        raise errors.ApiFailed(
            f"{action} failed: {reason}", status=response.status_code, advice=""
        ) from exc
    return _unwrapped(body)


def _unwrapped(body: Any) -> Any:
    """Take the content out of ``{"data": ..., "meta": ...}``."""
    if isinstance(body, Mapping) and "data" in body and set(body) <= {"data", "meta"}:
        return body["data"]
    return body


def detail_of(response: requests.Response) -> str:
    """Return the server's own explanation of an error as one short line, or an empty text."""
    if is_html(response):
        return HTML_HINT
    return short(_explanation(body_of(response)))


def is_apis_own(response: requests.Response) -> bool:
    """Return whether a refusal has a form that the API itself gives it.

    A page is a proxy's, and JSON without ``error`` a gateway's. What is empty may be anybody's.
    """
    if is_html(response):
        return False
    body = body_of(response)
    return body == [] or (isinstance(body, Mapping) and isinstance(body.get("error"), str | dict))


def code_of(response: requests.Response) -> str:
    """Return the code that an error of the API carries, or an empty text."""
    body = body_of(response)
    error = body.get("error") if isinstance(body, Mapping) else None
    return str(error.get("code") or "") if isinstance(error, Mapping) else ""


def short(words: object) -> str:
    """Return a server's words as one line that fits a terminal."""
    text = _WHITE_OR_CONTROL.sub(" ", str(words)).strip()
    return text if len(text) <= DETAIL_LIMIT else f"{text[:DETAIL_LIMIT]}…"


def _explanation(body: object) -> str:
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error")
    if isinstance(error, Mapping):
        return _joined(error.get("code"), error.get("message"))
    return _joined(error, body.get("message")) or _joined(body.get("detail"))


def _joined(*parts: object) -> str:
    return ": ".join(str(part) for part in parts if isinstance(part, str | int) and str(part))


def error_of(
    response: requests.Response, action: str, *, secret: str = ""
) -> errors.ApiError | None:
    """Return the error that an answer reports, or None when it is a success.

    ``secret`` is taken out of the server's words: some repeat the token that they refuse.
    """
    status = response.status_code
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return _redirected(response, action)
    detail = detail_of(response)
    detail = detail.replace(secret, "***") if secret else detail
    message = f"{action} failed: the server answered {status}"
    message = f"{message} ({detail})" if detail else message
    kind = _error_kind(response)
    if kind is errors.ApiOverloaded:
        return kind(message, status=status, retry_after_s=retry_after_s(response))
    return kind(message, status=status, code=_code(body_of(response)))


def _code(body: object) -> str:
    error = body.get("error") if isinstance(body, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if isinstance(code, str) else ""


def _error_kind(response: requests.Response) -> type[errors.ApiError]:
    status = response.status_code
    if status in _OVERLOAD_STATUSES:
        return errors.ApiOverloaded
    if status >= 500 or (status == 404 and is_html(response)):
        # The API never answers 404 with a web page; a proxy in front of it that lost its way
        # does. Taken for "no such task" it would make the agent drop work.
        return errors.ApiFailed
    return {
        401: errors.ApiUnauthorized,
        403: errors.ApiUnauthorized,
        404: errors.ApiNotFound,
        409: errors.ApiConflict,
    }.get(status, errors.ApiRefused)


def _redirected(response: requests.Response, action: str) -> errors.ApiError:
    """Return the error for a redirect that was not followed: it leads a write somewhere else."""
    led_to, status = redirects.target(response), response.status_code
    asked = urlsplit(response.url).path
    base = redirects.moved_base(response, asked[asked.find("/api/") :])
    where = "nowhere" if led_to is None else f"to {redirects.shown(led_to)}"
    message = f"{action} failed: the server redirects ({status}) {where} instead of storing it"
    if led_to is not None and redirects.gives_up_tls(response.url, led_to):
        advice = "That would give up TLS: correct the redirect of the server, or of its proxy"
    elif base is not None:
        advice = f"Set KERUTA_API_URL to {base}"
    else:
        advice = "Is it a login page? Set KERUTA_API_URL to where the API itself answers"
    return errors.ApiFailed(message, advice=advice, status=status)


def retry_after_s(response: requests.Response) -> float | None:
    """Return the seconds that the server asks to wait, written as a number or as a date."""
    return seconds_to_wait(response.headers.get("Retry-After", ""))


def seconds_to_wait(retry_after: str) -> float | None:
    """Return the seconds that a Retry-After header asks for; None when it says nothing."""
    raw = retry_after.strip()
    if not raw:
        return None
    try:
        seconds = float(raw)
    except ValueError:
        return _seconds_until(raw)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(http_date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(http_date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def stored(response: requests.Response, action: str) -> requests.Response:
    """Return the answer to a write, unless it is a web page or broken JSON.

    A proxy's login or maintenance page answers 200 to everything and stores nothing: the write
    has to be sent again once the API is back behind it. After JSON that breaks off nobody knows.
    """
    content_type = response.headers.get("Content-Type", "").lower()
    if "html" in content_type:
        raise errors.ApiOverloaded(f"{action} failed: {HTML_HINT}")
    if "json" in content_type and response.content.strip() and not _is_json(response):
        raise errors.ApiAmbiguous(
            f"{action} was sent, and answered with something that is not JSON",
            advice="It may have been stored: look before sending it again",
        )
    return response


def _is_json(response: requests.Response) -> bool:
    try:
        parsed(response)
    except ValueError:
        return False
    return True
