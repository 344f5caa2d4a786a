"""Which requests the audit log is about, and how they are described there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keruta_agent.http.access import bearer_token
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.http.throttle import Throttle, network_of
from keruta_agent.server.access.principals import Principal, Role, known_principal_of
from keruta_agent.server.access.rights import Right
from keruta_agent.server.store import audit_rows
from keruta_agent.server.store.audit_rows import Entry
from keruta_agent.server.store.database import Database

#: Those whose every write is the work that they are for.
_PROGRAMS: Final = frozenset({Role.AGENT, Role.RUNNER})
_READING: Final = frozenset({"GET", "HEAD"})
#: What a page does for its visitor alone.
_OWN_MATTERS: Final = frozenset({"/language"})


class Auditor:
    """Notes what requests change, and whom the server has refused."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Bounds what one peer can fill the log with.
        self._refusals = Throttle()

    def expect(self, request: Request, right: Right, arguments: Sequence[Any]) -> None:
        """Have what a request changes stored with its change, if the log is about it."""
        principal = known_principal_of(request)
        is_audited = request.method not in _READING and request.path not in _OWN_MATTERS
        if principal is not None and not _is_of_a_person(principal, right):
            is_audited = False
        audit_rows.expect(_entry(request, principal, arguments) if is_audited else None)

    def refused(self, request: Request, problem: Problem) -> None:
        """Note that a request was refused: a wrong token, or one that is not for it."""
        is_wrong_token = problem.status == 401 and bearer_token(request) is not None
        is_not_for_it = problem.status == 403 and known_principal_of(request) is not None
        if is_wrong_token or (is_not_for_it and request.method not in _READING):
            self._store(_entry(request, known_principal_of(request), ()), problem)

    def login_failed(self, peer: str) -> None:
        """Note that a wrong token was shown at the login."""
        entry = Entry(token="", role="", address=peer, method="POST", path="/login")
        self._store(entry, Problem(403, "FORBIDDEN", "wrong token"))

    def _store(self, entry: Entry, problem: Problem) -> None:
        peer = network_of(entry.address)
        if self._refusals.is_exhausted(peer):
            return
        self._refusals.failed(peer)
        with self._database.connected(), self._database.transaction():
            audit_rows.store(self._database, entry, status=problem.status, detail=problem.code)


def _is_of_a_person(principal: Principal, right: Right) -> bool:
    """Return whether who asks is a person: agents may use the server's one token, too."""
    if principal.role in _PROGRAMS:
        return False
    return principal.number != 0 or not right.roles & _PROGRAMS


def _entry(request: Request, principal: Principal | None, arguments: Sequence[Any]) -> Entry:
    named = {name.removesuffix("_id"): str(value) for name, value in request.path_params.items()}
    draft = arguments[0] if arguments else None
    if isinstance(draft, Mapping) and draft.get("session_id"):
        named.setdefault("session", str(draft["session_id"]))
    return Entry(
        token="" if principal is None else principal.name,
        role="" if principal is None else principal.role.value,
        address=request.peer,
        method=request.method,
        path=request.path,
        target=", ".join(f"{kind} {value}" for kind, value in named.items()),
    )
