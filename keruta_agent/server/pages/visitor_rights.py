"""What the pages show to whom: no form that would be refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keruta_agent.http.request import Request
from keruta_agent.server.access.principals import Principal, known_principal_of
from keruta_agent.server.access.rights import PAGES, Reach

_FILE: Final = ("POST", "/sessions/{session_id}/tasks")
_CREATE: Final = ("POST", "/sessions")
_TOKENS: Final = ("GET", "/tokens")
_AUDIT: Final = ("GET", "/audit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """Which forms are shown."""

    #: Those that change a session or a task.
    change: bool = False
    create_session: bool = False


def values(request: Request) -> Mapping[str, Any]:
    """Return what templates have to know of who looks."""
    principal = known_principal_of(request)
    if principal is None:
        return {"may": Shown(), "links": ()}
    return {
        "may": Shown(change=_may(principal, _FILE), create_session=_may(principal, _CREATE)),
        "links": _links(principal),
    }


def _links(principal: Principal) -> Sequence[tuple[str, str]]:
    found = ((_TOKENS, "nav.tokens"), (_AUDIT, "nav.audit"))
    return [(route[1], key) for route, key in found if route in PAGES and _may(principal, route)]


def _may(principal: Principal, route: tuple[str, str]) -> bool:
    right = PAGES[route]
    is_in_scope = principal.scope is None or right.reach is not Reach.EVERYTHING
    return principal.role in right.roles and is_in_scope
