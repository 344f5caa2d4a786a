"""Who asks: by the name, the role and the scope of the token that was shown."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from typing import Final

from keruta_agent.http.request import Request


class Role(enum.StrEnum):
    """What kind of client a token is for; the table of rights says what each may do."""

    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"
    AGENT = "agent"
    RUNNER = "runner"


class ScopeKind(enum.StrEnum):
    """What a scope names."""

    SESSION = "session"
    WORKSPACE = "workspace"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """What a token is bound to: one session, or those of one workspace.

    The sessions of a workspace are those with its id, and those with its name: the agents look for
    their session by either.
    """

    kind: ScopeKind
    value: str

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Principal:
    """Who has shown a token; without any token set, whoever asks."""

    #: Of the token.
    name: str
    role: Role
    scope: Scope | None = None
    #: Of the token, as it is stored; empty where none was shown.
    digest: str = dataclasses.field(default="", repr=False)
    #: Of the token's row; 0 for the server's one ``--token``, and where none was shown.
    number: int = 0
    #: In microseconds since 1970; None for ever.
    expires_at: int | None = None


#: Whoever asks a server that has no tokens. What is about tokens takes an admin's.
ANYBODY: Final = Principal(name="", role=Role.OPERATOR)
#: The name of the one ``--token``, which names of tokens cannot be.
SINGLE_TOKEN: Final = "--token"  # noqa: S105 - the name of an option


#: In the scope of a request.
_KEY: Final = "keruta.principal"


def principal_of(request: Request) -> Principal:
    """Return who asks, of a request that was admitted."""
    found: Principal = request.scope[_KEY]
    return found


def known_principal_of(request: Request) -> Principal | None:
    """Return who asks; None where nobody has to say it, as at the login."""
    found: Principal | None = request.scope.get(_KEY)
    return found


def note_principal(request: Request, principal: Principal) -> None:
    """Note who asks."""
    request.scope[_KEY] = principal


def digest_of(token: str) -> str:
    """Return a token as it is stored: it has too much entropy to be found from that."""
    return hashlib.sha256(token.strip().encode("utf-8", "replace")).hexdigest()
