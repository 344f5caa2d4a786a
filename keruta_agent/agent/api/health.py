"""How the server says that it is well, at either of its two addresses."""

from __future__ import annotations

from collections.abc import Mapping

import requests

from keruta_agent.core.model import ApiHealth
from keruta_agent.http.client import answers
from keruta_agent.http.client.http import HttpClient

_PATHS = ("/api/v1/health", "/health")
_GOOD_WORDS = frozenset({"UP", "OK", "HEALTHY"})
#: The answers that send us to the other address.
_NO_SUCH_ROUTE = frozenset({404, 405, 500, 501})


def ask(http: HttpClient) -> ApiHealth:
    """Return how the server is; ask once, without trying again.

    Raises:
        ApiUnreachable: there is no server.
    """
    first = http.fetch("Asking the server's health", _PATHS[0])
    if first.status_code not in _NO_SUCH_ROUTE:
        return _judged(first)
    second = http.fetch("Asking the server's health", _PATHS[1])
    return _judged(first if second.status_code in _NO_SUCH_ROUTE else second)


def _judged(response: requests.Response) -> ApiHealth:
    if response.status_code in (401, 403):
        return ApiHealth(healthy=False, detail="the server does not accept the token")
    if response.status_code != 200:
        detail = answers.detail_of(response)
        said = f"the server answered {response.status_code}"
        return ApiHealth(healthy=False, detail=f"{said} ({detail})" if detail else said)
    if not response.content.strip():
        return ApiHealth(healthy=True)
    body = answers.body_of(response)
    if not isinstance(body, Mapping):
        hint = answers.HTML_HINT if answers.is_html(response) else "it answered no JSON object"
        return ApiHealth(healthy=False, detail=hint)
    status = str(body.get("status", "UP"))
    return ApiHealth(
        healthy=status.upper() in _GOOD_WORDS, detail=answers.short(body.get("message") or status)
    )
