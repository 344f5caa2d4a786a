"""Who may ask: with a token or a login by one, if there is any; and no page of another site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from keruta_agent.http.access import bearer_token, host_name, is_from_foreign_page, is_loopback
from keruta_agent.http.openapi import OPENAPI_PATH
from keruta_agent.http.pages.logins import Visitor
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.http.routes import Route
from keruta_agent.http.throttle import Throttle, network_of
from keruta_agent.server.access import scopes, tokens
from keruta_agent.server.access.auditing import Auditor
from keruta_agent.server.access.grants import Grants
from keruta_agent.server.access.principals import Principal, digest_of, note_principal, principal_of
from keruta_agent.server.access.rights import Reach, Right, RouteKey
from keruta_agent.server.access.stored_logins import StoredLogins
from keruta_agent.server.resources import health
from keruta_agent.server.routes import store_of

_OPEN_PATHS: Final = health.PATHS | {OPENAPI_PATH}


class Access:
    """Access control for requests."""

    def __init__(
        self,
        grants: Grants,
        rights: Mapping[RouteKey, Right],
        auditor: Auditor,
        *,
        loopback: bool,
        logins: StoredLogins | None = None,
    ) -> None:
        """Take the tokens, the table of rights, the audit log, and the logins of the pages."""
        self._rights = rights
        self._grants = grants
        self._logins = logins
        #: Guesses by peer, and apart from them wrong tokens by peer and token: however many of
        #: these somebody makes up, the guesses stay counted.
        self._guesses = Throttle()
        self._wrong = Throttle()
        self._auditor = auditor
        self._loopback = loopback

    def look_up(self, request: Request) -> Callable[[], None] | None:
        """Return what has to be read before a request is admitted; None for nothing."""
        if request.path in _OPEN_PATHS:
            return None
        token = bearer_token(request)
        if token is not None and self._grants.of_token(token) is None:
            # Before the database is asked.
            peer, pair = _keys(request, token)
            self._wrong.check(pair)
            if not tokens.is_made_here(token):
                self._guesses.check(peer)
        if token is None and request.app.pages is not None and request.cookies:
            # A person's browser: what has ended elsewhere has ended here at once.
            return self._grants.refresh
        # A token may have come into being a moment ago.
        is_known = token is None or self._grants.of_token(token) is not None
        return None if is_known and self._grants.is_fresh() else self._grants.refresh

    def check(self, request: Request) -> None:
        """Admit a request or refuse it.

        Raises:
            Problem: the token is missing or wrong (401), or a web page of another site asks (403).
        """
        if self._is_open(request):
            return
        principal = self._principal(request)
        note_principal(request, principal)
        if request.route is not None:
            _check_role(principal, self._right(request.route))

    def authorize(self, request: Request, arguments: Sequence[Any]) -> None:
        """Refuse what leads out of the scope of who asks; in a thread, with what was sent.

        Raises:
            Problem: it names what is not in the scope (404, as if there were none).
        """
        if request.route is None:
            return
        right = self._right(request.route)
        self._auditor.expect(request, right, arguments)
        if self._is_open(request):
            return
        principal = principal_of(request)
        self._grants.note_use(principal)
        if principal.scope is None:
            return
        if right.reach in (Reach.LIST, Reach.NOTHING):
            return
        database = store_of(request).database
        with database.connected():
            scopes.check(database, principal.scope, right.reach, request.path_params, arguments)

    def _right(self, route: Route) -> Right:
        right = self._rights.get((route.method, route.path))
        if right is None:
            raise Problem(403, "FORBIDDEN", "nobody has a right to this; it is a bug in keruta")
        return right

    def refused(self, request: Request, problem: Problem) -> None:
        """Note that a request was refused; in a thread."""
        self._auditor.refused(request, problem)

    def may_listen(self, request: Request) -> Callable[[], bool]:
        """Return a check whether who listens is still let in."""
        principal, grants = principal_of(request), self._grants
        visitor = self._visitor(request)
        if visitor is not None and visitor.known and "Authorization" not in request.headers:
            return lambda: visitor.is_logged_in() and grants.is_good(principal)
        return lambda: grants.is_good(principal)

    def _is_open(self, request: Request) -> bool:
        pages = request.app.pages
        return request.path in _OPEN_PATHS or (pages is not None and pages.is_open(request))

    def _principal(self, request: Request) -> Principal:
        anybody = self._grants.without_token()
        if anybody is not None:
            self._refuse_foreign_pages(request)
            return anybody
        if "Authorization" in request.headers:
            return self._of_token(request)
        visitor = self._visitor(request)
        found = None
        if visitor is not None and visitor.login is not None and self._logins is not None:
            found = self._logins.principal(visitor.login)
        if visitor is None or found is None:
            return self._of_token(request)
        if request.method not in ("GET", "HEAD") and not request.app.pages.owns(request):
            # The pages look at their forms themselves.
            visitor.check_form(request)
        return found

    def _of_token(self, request: Request) -> Principal:
        token = bearer_token(request)
        found = None if token is None else self._grants.of_token(token)
        if found is not None:
            # A person has chosen the one token: it may be guessed. To read addresses takes time.
            if not found.number and not self._guesses.is_idle:
                self._guesses.check(network_of(request.peer))
            return found
        if token is not None:
            self._count(request, token)
        raise Problem(
            401,
            "UNAUTHORIZED",
            "the bearer token is missing or wrong, has expired or was revoked",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _count(self, request: Request, token: str) -> None:
        """Count a wrong token: by itself, and as a guess of its peer if it is a new one.

        What is repeated is a client with an old token, and must not lock out others at its address;
        nor are tokens that were made here ever guessed.
        """
        peer, pair = _keys(request, token)
        if not tokens.is_made_here(token) and not self._wrong.has_failed(pair):
            self._guesses.failed(peer)
        self._wrong.failed(pair)

    def _visitor(self, request: Request) -> Visitor | None:
        pages = request.app.pages
        return None if pages is None else pages.visitor(request)

    def _refuse_foreign_pages(self, request: Request) -> None:
        if is_from_foreign_page(request):
            raise Problem(403, "FORBIDDEN", "pages of another site may not ask")
        host = request.headers.get("Host")
        if self._loopback and host is not None and not is_loopback(host_name(host)):
            raise Problem(403, "FORBIDDEN", "this server has another name; ask for 127.0.0.1")


def _keys(request: Request, token: str) -> tuple[str, str]:
    """Return what wrong tokens are counted by: the peer, and the peer with the token."""
    peer = network_of(request.peer)
    return peer, f"{peer} {digest_of(token)}"


def _check_role(principal: Principal, right: Right) -> None:
    """Refuse what is not for the role of who asks, or for no scope.

    Raises:
        Problem: it is not (403).
    """
    if principal.role not in right.roles:
        wanted = ", ".join(sorted(right.roles))
        whose = (
            f"the token {principal.name!r} has the role {principal.role}"
            if principal.name
            else "no token was shown"
        )
        raise Problem(
            403,
            "ROLE_FORBIDDEN",
            f"{whose}, and this is for: {wanted}. An admin of the server makes tokens:"
            " keruta server token create",
        )
    if principal.scope is not None and right.reach is Reach.EVERYTHING:
        raise Problem(
            403,
            "OUT_OF_SCOPE",
            f"the token {principal.name!r} is bound to {principal.scope}, and this is about more."
            " An admin of the server makes others: keruta server token create",
        )
