"""Logins of visitors: who asks for a page, and whether they have shown the token.

A cookie holds a random id, when it ends, and a signature; the server keeps a list of the logins
that have not ended, so that a copy of a cookie is of no use after the logout. The signature of the
cookie under another name is what forms carry against forgery.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Final, Protocol

from starlette.responses import Response

from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.http.throttle import Throttle, network_of

#: Seconds.
LIFETIME_S: Final = 7 * 24 * 3600
FIELD: Final = "csrf"
HEADER: Final = "X-CSRF-Token"

_KNOWN: Final = "known"
_ANYBODY: Final = "anybody"


class LoginStore(Protocol):
    """Where it is kept who has logged in, and the key."""

    @property
    def key(self) -> bytes:
        """What signs cookies and forms."""

    @property
    def is_wanted(self) -> bool:
        """Whether visitors have to show a token."""

    def accepts(self, token: str) -> bool:
        """Return whether one may log in with this token."""

    def note_failure(self, peer: str) -> None:
        """Note that a wrong token was given by a peer."""

    def begin(self, login: str, ends: int, token: str) -> None:
        """Add a login by a token, with when it ends in Unix seconds.

        Raises:
            OSError: it cannot be stored, and does not count.
        """

    def end(self, login: str) -> None:
        """End a login permanently.

        Raises:
            OSError: that cannot be stored.
        """

    def is_live(self, login: str) -> bool:
        """Return whether a login has begun and not ended; never waits, as the event loop asks."""


class Logins:
    """The cookies of one server, issued and checked."""

    def __init__(self, store: LoginStore) -> None:
        self._store = store
        self._throttle = Throttle()

    @property
    def wanted(self) -> bool:
        """Whether visitors have to show a token."""
        return self._store.is_wanted

    def fits(self, token: str, peer: str) -> bool:
        """Return whether one may log in with this token.

        Raises:
            Problem: too many wrong ones came from this peer just now (429).
        """
        key = network_of(peer)
        self._throttle.check(key)
        if self._store.accepts(token):
            return True
        self._throttle.failed(key)
        self._store.note_failure(peer)
        return False

    def visitor(self, request: Request) -> Visitor:
        """Return the visitor of a request: logged in or not."""
        cookie = request.cookies.get(cookie_name(request), "")
        kind = self._kind(cookie)
        if kind is None:
            return self.welcome()
        return Visitor(self, cookie, known=kind == _KNOWN, is_new=False)

    def welcome(self) -> Visitor:
        """Return a visitor who has not logged in, with a new cookie."""
        return self._new_visitor(_ANYBODY, *_new_login())

    def log_in(self, token: str) -> Visitor:
        """Return a visitor who has logged in with a token, with a new cookie.

        Raises:
            Problem: the login cannot be stored (503).
        """
        login, ends = _new_login()
        try:
            self._store.begin(login, ends, token)
        except OSError as exc:
            message = f"the login cannot be stored: {exc.strerror}"
            raise Problem(503, "UNAVAILABLE", message) from exc
        return self._new_visitor(_KNOWN, login, ends)

    def _new_visitor(self, kind: str, login: str, ends: int) -> Visitor:
        text = ".".join((kind, str(ends), login))
        cookie = f"{text}.{self.sign('cookie', text)}"
        return Visitor(self, cookie, known=kind == _KNOWN, is_new=True)

    def is_live(self, cookie: str) -> bool:
        """Return whether a cookie is that of a login that has not ended."""
        return self._kind(cookie) == _KNOWN

    def end(self, cookie: str) -> None:
        """End the login of a cookie, also for those who have a copy of it.

        Raises:
            Problem: that cannot be stored (503).
        """
        if not self.is_live(cookie):
            return
        try:
            self._store.end(_login_of(cookie))
        except OSError as exc:
            message = f"the logout cannot be stored: {exc.strerror}"
            raise Problem(503, "UNAVAILABLE", message) from exc

    def sign(self, purpose: str, text: str) -> str:
        """Return the signature of a text for one purpose."""
        message = f"{purpose}\n{text}".encode("utf-8", "replace")
        return hmac.digest(self._store.key, message, "sha256").hex()

    def _kind(self, cookie: str) -> str | None:
        text, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self.sign("cookie", text).encode()):
            return None
        kind, ends, _ = text.split(".")
        if int(ends) <= time.time():
            return None
        return kind if kind != _KNOWN or self._store.is_live(_login_of(cookie)) else None


def _new_login() -> tuple[str, int]:
    """Return the id of a login, and when it ends."""
    return secrets.token_urlsafe(18), int(time.time()) + LIFETIME_S


def _login_of(cookie: str) -> str:
    return cookie.split(".")[2]


class Visitor:
    """Who looks at the pages."""

    def __init__(self, logins: Logins, cookie: str, *, known: bool, is_new: bool) -> None:
        self._logins = logins
        self._cookie = cookie
        self.known = known
        self._is_new = is_new

    @property
    def login(self) -> str | None:
        """The id of this visitor's login; None where there is none."""
        return _login_of(self._cookie) if self.known else None

    @property
    def welcome(self) -> bool:
        """Whether this visitor may see the pages."""
        return self.known or not self._logins.wanted

    @property
    def form_token(self) -> str:
        """What forms carry, so that no other site can send them."""
        return self._logins.sign("form", self._cookie)

    def is_logged_in(self) -> bool:
        """Return whether the login has not ended since this request began."""
        return self._logins.is_live(self._cookie)

    def log_out(self) -> None:
        """End this visitor's login."""
        self._logins.end(self._cookie)

    def check_form(self, request: Request) -> None:
        """Admit a form that one of the own pages sent to this visitor.

        Raises:
            Problem: it is from elsewhere, or its page is older than the login (403).
        """
        given = request.headers.get(HEADER) or request.fields.get(FIELD, "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.form_token.encode()):
            raise Problem(403, "FORM_EXPIRED", "this form is too old; load the page again")

    def remember(self, request: Request, response: Response) -> None:
        """Give a new visitor the cookie."""
        if self._is_new:
            set_cookie(request, response, cookie_name(request), self._cookie, lasts_s=LIFETIME_S)


def cookie_name(request: Request) -> str:
    """Return the name of the cookie: browsers share cookies among the ports of a machine.

    They also send those of a path to all that is below it.
    """
    port = request.headers.get("Host", "").rpartition(":")[2]
    name = f"keruta_visitor_{port if port.isdecimal() else ''}"
    if not request.prefix:
        return name
    return f"{name}_{hashlib.sha256(request.prefix.encode()).hexdigest()[:8]}"


def set_cookie(
    request: Request, response: Response, name: str, value: str, *, lasts_s: int
) -> None:
    """Give a browser a cookie for the pages of this application alone."""
    response.set_cookie(
        name,
        value,
        max_age=lasts_s,
        path=request.prefix or "/",
        secure=request.is_secure,
        httponly=True,
        samesite="strict",
    )
