"""Tokens as rows: created, listed, revoked. Only their digests are stored."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.server.access import shared_state
from keruta_agent.server.access.principals import Principal, Role, Scope, ScopeKind, digest_of
from keruta_agent.server.store import audit_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import Row, select, statement

#: By it people and the redactor know a token of this server.
PREFIX: Final = "keruta_tok_"
_BYTES: Final = 32
_FORM: Final = re.compile(rf"{PREFIX}[0-9a-f]{{{2 * _BYTES}}}")
#: Tokens that are not revoked: each process holds them in memory.
MOST: Final = 10_000
#: Characters of a name.
LONGEST_NAME: Final = 100

_UNREVOKED: Final = select("tokens", "revoked_at IS NULL ORDER BY number")
_ALL: Final = select("tokens", "1 = 1 ORDER BY number DESC LIMIT ?")
_NAMED: Final = select("tokens", "(name = ? OR id = ?) AND revoked_at IS NULL ORDER BY number")
_EXIST: Final = statement("SELECT number FROM tokens LIMIT 1")
_NUMBER: Final = statement("SELECT COUNT(*) FROM tokens WHERE revoked_at IS NULL")
_REVOKE: Final = statement("UPDATE tokens SET revoked_at = ? WHERE number = ?")
_END_LOGINS: Final = statement("DELETE FROM logins WHERE token = ?")
_USED: Final = statement("UPDATE tokens SET used_at = ? WHERE number = ?")


class TokenRefused(errors.UsageError):
    """A token cannot be created like that; pages say why in their own language."""

    def __init__(self, reason: str, message: str, *, advice: str, **values: object) -> None:
        super().__init__(message, advice=advice)
        #: Of the page's catalogue, below ``tokens.refused``.
        self.reason = reason
        self.values = values


def is_made_here(token: str) -> bool:
    """Return whether a token has the form of those that are created here."""
    return _FORM.fullmatch(token) is not None


def create(
    database: Database,
    name: str,
    role: Role,
    *,
    scope: Scope | None = None,
    lifetime_s: float | None = None,
) -> tuple[dict[str, Any], str]:
    """Store a new token; return what may be shown of it, and itself, which is nowhere else.

    Raises:
        TokenRefused: name or scope do not fit, or there are too many.
    """
    name = name.strip()
    _check(name, role, scope)
    token = PREFIX + secrets.token_hex(_BYTES)
    row: Row = {
        "id": uuid.uuid4().hex[:12],
        "name": name,
        "digest": digest_of(token),
        "role": role.value,
        "scope_kind": scope.kind.value if scope is not None else "",
        "scope": scope.value if scope is not None else "",
        "used_at": None,
        "revoked_at": None,
    }
    with database.connected(), database.transaction():
        # First: those that create tokens at once take turns by it.
        shared_state.note_change(database)
        if database.one(_NAMED, name, name) is not None:
            raise TokenRefused(
                "taken",
                f"there is a token {name!r} already",
                advice="Give another name, or revoke that one first",
                name=name,
            )
        if database.run(_NUMBER).fetchone()[0] >= MOST:
            raise TokenRefused(
                "many",
                f"there are {MOST} tokens",
                advice="Revoke those that nobody needs",
                most=MOST,
            )
        # By the database's clock: this command may run on a machine with another one.
        now = database.now()
        row["created_at"] = now
        row["expires_at"] = None if lifetime_s is None else now + int(lifetime_s * 1_000_000)
        row["number"] = database.insert("tokens", row)
        audit_rows.store_expected(database, target=f"token {name}")
    return _to_answer(row, now), token


def _check(name: str, role: Role, scope: Scope | None) -> None:
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name.startswith("-"):
        raise TokenRefused(
            "name",
            f"{name!r} cannot be a token's name",
            advice=f"Give 1 to {LONGEST_NAME} printable characters that do not begin with '-'",
            longest=LONGEST_NAME,
        )
    if role is Role.AGENT and scope is None:
        raise TokenRefused(
            "unbound", "an agent's token needs a scope", advice="Give it a session or a workspace"
        )
    if role in (Role.ADMIN, Role.RUNNER) and scope is not None:
        raise TokenRefused(
            "bound",
            f"a token of the role {role} has no scope",
            advice="Leave the session or workspace out, or choose another role",
        )
    if scope is not None and not scope.value.strip():
        raise TokenRefused("scope", f"the {scope.kind} is empty", advice="Name it, by its id")


def _find(database: Database, name: str) -> Row:
    """Return the row of the token with this name or id that is not revoked.

    Raises:
        UsageError: there is none.
    """
    row = database.one(_NAMED, name, name)
    if row is None:
        raise errors.UsageError(
            f"no token is called {name!r}, or it is revoked already",
            advice="keruta server token list shows them",
        )
    return row


def by_id(database: Database, token_id: str) -> Row | None:
    """Return the row of the token with this id that is not revoked; None if there is none."""
    with database.connected():
        return database.one(_NAMED, "", token_id)


def revoke(database: Database, name: str) -> dict[str, Any]:
    """Revoke a token, by its name or id, and end its logins; return what may be shown of it.

    Raises:
        UsageError: there is none.
    """
    with database.connected(), database.transaction():
        shared_state.note_change(database)
        row = _find(database, name)
        row["revoked_at"] = database.now()
        database.run(_REVOKE, row["revoked_at"], row["number"])
        database.run(_END_LOGINS, row["digest"])
        audit_rows.store_expected(database, target=f"token {row['name']}")
        return _to_answer(row, row["revoked_at"])


def unrevoked(database: Database) -> list[Row]:
    """Return the rows of the tokens that are not revoked."""
    return database.all(_UNREVOKED)


def exist(database: Database) -> bool:
    """Return whether there ever was a token."""
    return database.run(_EXIST).fetchone() is not None


def newest(database: Database, limit: int) -> list[dict[str, Any]]:
    """Return what may be shown of the tokens, revoked ones too, the newest first."""
    with database.connected():
        now = database.now()
        return [_to_answer(row, now) for row in database.all(_ALL, limit)]


def note_use(database: Database, number: int) -> None:
    """Note that a token is in use."""
    with database.connected(), database.transaction():
        database.run(_USED, database.now(), number)


def to_principal(row: Row) -> Principal:
    """Return who shows a token."""
    return Principal(
        name=row["name"],
        role=Role(row["role"]),
        scope=_scope(row),
        digest=row["digest"],
        number=row["number"],
        expires_at=row["expires_at"],
    )


def _scope(row: Row) -> Scope | None:
    if not row["scope_kind"]:
        return None
    return Scope(kind=ScopeKind(row["scope_kind"]), value=row["scope"])


def _to_answer(row: Row, now: int) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "role": row["role"],
        "scope": {row["scope_kind"]: row["scope"]} if row["scope_kind"] else None,
        "state": _state(row, now),
        "createdAt": t.date(row["created_at"]),
        "expiresAt": t.date(row["expires_at"]),
        "lastUsedAt": t.date(row["used_at"]),
        "revokedAt": t.date(row["revoked_at"]),
    }


def _state(row: Row, now: int) -> str:
    """Return whether a token is good: ``active``, ``expired`` or ``revoked``."""
    if row["revoked_at"] is not None:
        return "revoked"
    is_over = row["expires_at"] is not None and row["expires_at"] <= now
    return "expired" if is_over else "active"
