"""The page of tokens, for admins: who may ask this server, and for what."""

from __future__ import annotations

import dataclasses
from typing import Final, Self

from starlette.responses import Response

from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import missing
from keruta_agent.http.request import Request
from keruta_agent.server.access import tokens
from keruta_agent.server.access.principals import Role, Scope, ScopeKind
from keruta_agent.server.pages.group import ask_to_confirm, confirmed, pages
from keruta_agent.server.routes import store_of

#: Tokens on the page.
_MOST_SHOWN: Final = 1000
_LONGEST_DAYS: Final = 3650
_DAY_S: Final = 24 * 3600


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Form:
    name: str = ""
    role: str = Role.VIEWER.value
    scope_kind: str = ""
    scope: str = ""
    days: str = ""

    @classmethod
    def sent(cls, request: Request) -> Self:
        texts = {
            field.name: request.fields.get(field.name, "").strip()
            for field in dataclasses.fields(cls)
        }
        return cls(**texts)


@pages.get("/tokens")
def show_tokens(request: Request) -> Response:
    """Show the tokens, and a form for a new one."""
    return _page(request, _Form())


@pages.post("/tokens")
def create_token(request: Request) -> Response:
    """Create a token and show it, once."""
    form = _Form.sent(request)
    try:
        row, secret = tokens.create(
            store_of(request).database,
            form.name,
            _role(form.role),
            scope=_scope(form),
            lifetime_s=_lifetime_s(form.days),
        )
    except tokens.TokenRefused as exc:
        return _page(request, form, refusal=exc)
    return _page(request, _Form(), created=row["name"], secret=secret)


@pages.post("/tokens/{token_id}/revoke")
def revoke_token(request: Request, token_id: str) -> Response:
    """Revoke a token, which ends its logins, too."""
    database = store_of(request).database
    row = tokens.by_id(database, token_id)
    if row is None:
        raise missing("token", token_id)
    if not confirmed(request):
        return ask_to_confirm(request, "revoke", row["name"], back="/tokens")
    tokens.revoke(database, token_id)
    return page_setup.go_to(request, "/tokens?done=revoked")


def _page(
    request: Request,
    form: _Form,
    *,
    refusal: tokens.TokenRefused | None = None,
    **created: str,
) -> Response:
    database = store_of(request).database
    return page_setup.page(
        request,
        "tokens.html",
        400 if refusal else 200,
        tokens=tokens.newest(database, _MOST_SHOWN),
        form=form,
        refusal=refusal,
        roles=list(Role),
        kinds=list(ScopeKind),
        **{"created": "", "secret": "", **created},
    )


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise tokens.TokenRefused(
            "role", f"there is no role {name!r}", advice=f"It is one of: {', '.join(Role)}"
        ) from None


def _scope(form: _Form) -> Scope | None:
    if form.scope_kind not in list(ScopeKind):
        return None
    return Scope(kind=ScopeKind(form.scope_kind), value=form.scope)


def _lifetime_s(days: str) -> int | None:
    if not days:
        return None
    if not (days.isascii() and days.isdecimal() and 0 < int(days[:9]) <= _LONGEST_DAYS):
        raise tokens.TokenRefused(
            "days",
            f"{days!r} are no days",
            advice=f"Give a number from 1 to {_LONGEST_DAYS}, or none",
            longest=_LONGEST_DAYS,
        )
    return int(days) * _DAY_S
