"""Who may ask: a bearer token if one is set, and no web page of another site."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress

from flask import Request

from keruta_agent.server import health
from keruta_agent.server.problems import Problem

OPENAPI_PATH = "/openapi.json"

_OPEN_PATHS = health.PATHS | {OPENAPI_PATH}


class Access:
    """Decides about requests. Only the token's hash is kept, so that no dump of it can leak."""

    def __init__(self, *, token: str | None, loopback: bool) -> None:
        self._digest = _digest(token.encode()) if token else None
        self._loopback = loopback

    def check(self, request: Request) -> None:
        """Lets a request pass or refuses it.

        Raises:
            Problem: the token is missing or wrong (401), or a web page of another site asks (403).
        """
        if request.path in _OPEN_PATHS:
            return
        if self._digest is None:
            self._refuse_foreign_pages(request)
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        # WSGI hands headers over as Latin-1.
        given = _digest(token.strip().encode("latin-1", "replace"))
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._digest):
            raise Problem(
                401,
                "UNAUTHORIZED",
                "the bearer token is missing or wrong",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _refuse_foreign_pages(self, request: Request) -> None:
        # Any page that a person visits may send requests to this machine's own addresses, either
        # openly (Origin) or by a name of its own that leads here (Host).
        origin = request.headers.get("Origin")
        host = request.headers.get("Host")
        if origin is not None and origin.partition("://")[2] != host:
            raise Problem(403, "FORBIDDEN", "pages of another site may not ask")
        if self._loopback and host is not None and not is_loopback(_host_name(host)):
            raise Problem(403, "FORBIDDEN", "this server has another name; ask for 127.0.0.1")


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def is_loopback(host: str) -> bool:
    """Returns whether a server that listens there is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
