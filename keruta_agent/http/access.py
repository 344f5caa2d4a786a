"""What a request is admitted by: its token, the name it asks for, the page it is from.

Any page that a person visits may send requests to this machine's own addresses, either openly
(``Origin``) or by a name of its own that leads here (``Host``).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress

from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request


class BearerToken:
    """A token that requests have to carry. Only its hash is kept, so that no dump can leak it."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token.encode())

    def check(self, request: Request) -> None:
        """Admit a request that carries the token.

        Raises:
            Problem: it does not (401).
        """
        given = bearer_token(request)
        if given is None or not hmac.compare_digest(_digest(given.encode()), self._digest):
            raise Problem(
                401,
                "UNAUTHORIZED",
                "the bearer token is missing or wrong",
                headers={"WWW-Authenticate": "Bearer"},
            )


def bearer_token(request: Request) -> str | None:
    """Return the token that a request carries; None where it carries none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    # Headers arrive as Latin-1.
    return token.strip().encode("latin-1", "replace").decode("utf-8", "replace") or None


def is_from_foreign_page(request: Request) -> bool:
    """Return whether a web page of another site sent the request."""
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("Host")


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_loopback(host: str) -> bool:
    """Return whether a server that listens there is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
