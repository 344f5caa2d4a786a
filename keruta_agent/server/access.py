"""Who may ask: with the token or a login by it, if one is set; and no page of another site."""

from __future__ import annotations

from typing import Final

from keruta_agent.http.access import BearerToken, host_name, is_from_foreign_page, is_loopback
from keruta_agent.http.openapi import OPENAPI_PATH
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.server.resources import health

_OPEN_PATHS: Final = health.PATHS | {OPENAPI_PATH}


class Access:
    """Access control for requests."""

    def __init__(self, *, token: str | None, loopback: bool) -> None:
        self._token = BearerToken(token) if token else None
        self._loopback = loopback

    def check(self, request: Request) -> None:
        """Admit a request or refuse it.

        Raises:
            Problem: the token is missing or wrong (401), or a web page of another site asks (403).
        """
        if request.path in _OPEN_PATHS:
            return
        if self._token is not None:
            self._check_token(self._token, request)
        else:
            self._refuse_foreign_pages(request)

    def _check_token(self, token: BearerToken, request: Request) -> None:
        """Admit visitors who have logged in on the pages to what the token is for."""
        pages = request.app.pages
        if pages is None:  # the runner's services
            token.check(request)
            return
        if pages.is_open(request):
            return
        if "Authorization" in request.headers:
            token.check(request)
            return
        visitor = pages.visitor(request)
        if not visitor.known:
            token.check(request)
        elif request.method not in ("GET", "HEAD") and not pages.owns(request):
            # The pages look at their forms themselves.
            visitor.check_form(request)

    def _refuse_foreign_pages(self, request: Request) -> None:
        if is_from_foreign_page(request):
            raise Problem(403, "FORBIDDEN", "pages of another site may not ask")
        host = request.headers.get("Host")
        if self._loopback and host is not None and not is_loopback(host_name(host)):
            raise Problem(403, "FORBIDDEN", "this server has another name; ask for 127.0.0.1")
