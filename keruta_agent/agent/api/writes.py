"""Find out whether a write reaches the API, without changing anything there.

A proxy that lets only reads pass, a redirect that turns a PUT into a GET, a login page: the agent
would find tasks, run them, and report none of it. So a final state is written for a task that
nobody has. Who refuses it is the API itself or something before it, and the two look different:
the API has its own forms of errors, and refuses to read that task just as it refuses to write it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

import requests

from keruta_agent.core import errors
from keruta_agent.http.client import answers
from keruta_agent.http.client.http import HttpClient

_ACTION: Final = "Testing whether a report reaches the API"
#: Never a running state: some servers lock a task at it, also one that they do not have.
_BODY: Final[Mapping[str, Any]] = {
    "status": "FAILED",
    "message": "A test whether reports arrive; no task has this id",
    "progress": 0,
    "errorCode": "",
}
#: Refusals of a task or of its state. The rest is about the route, or the one who asks.
_OF_THE_TASK: Final = frozenset({400, 404, 409, 410, 422})
#: Codes with which a server says that it has no such route at all.
_NO_ROUTE: Final = frozenset({"ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"})
_ADVICE: Final = (
    "Let PUT, POST and PATCH pass at the proxy, or set KERUTA_API_URL to where the API itself "
    "answers"
)


def check(http: HttpClient) -> None:
    """Return when a write reaches the API.

    Raises:
        ApiBlocked: none does.
        ApiUnauthorized: the API takes none with this token.
        ApiError: it cannot be determined now.
    """
    path = f"/api/v1/tasks/{uuid.uuid4()}"
    response = http.ask(_ACTION, "PUT", f"{path}/status", _BODY, key=f"check-{uuid.uuid4().hex}")
    status = response.status_code
    error = http.error_of(response, _ACTION)
    if error is None:
        if answers.is_html(response) or not _is_empty_or_json(response):
            raise _blocked(f"something else answered {status} in its place", response)
        return
    if 300 <= status < 400:
        raise errors.ApiBlocked(error.message, advice=error.advice, status=status)
    if isinstance(error, errors.ApiOverloaded) or status == 500:
        raise error
    is_own = answers.is_apis_own(response)
    if is_own and isinstance(error, errors.ApiUnauthorized):
        raise error
    has_route = answers.code_of(response) not in _NO_ROUTE
    if is_own and status in _OF_THE_TASK and has_route:
        return
    if status in _OF_THE_TASK and has_route and _looks_like(http.fetch(_ACTION, path), response):
        return
    raise _blocked(f"it is refused before the API ({status})", response)


def _blocked(reason: str, response: requests.Response) -> errors.ApiBlocked:
    said = answers.detail_of(response) or answers.short(response.text)
    words = f": {said}" if said else ""
    return errors.ApiBlocked(
        f"The API answers reads, but no report reaches it: {reason}{words}",
        advice=_ADVICE,
        status=response.status_code,
    )


def _is_empty_or_json(response: requests.Response) -> bool:
    return not response.content.strip() or answers.body_of(response) is not None


def _looks_like(read: requests.Response, written: requests.Response) -> bool:
    """Return whether a task that is not there is refused alike when it is read and written."""
    return _look(read) == _look(written)


def _look(response: requests.Response) -> tuple[object, ...]:
    body = answers.body_of(response)
    fields = sorted(map(str, body)) if isinstance(body, Mapping) else None
    is_empty = not response.content.strip()
    return response.status_code, is_empty, answers.is_html(response), fields
