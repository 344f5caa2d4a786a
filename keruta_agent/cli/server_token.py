"""``keruta server token``: who may ask a server, and for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli.options import Group, json_option, print_json
from keruta_agent.cli.server_place import audited_command, database_of, place_options
from keruta_agent.core import errors

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.server.access.principals import Scope

#: As the table of rights has them.
ROLES: Final = ("admin", "operator", "viewer", "agent", "runner")
#: Tokens in a list.
_MOST_LISTED: Final = 1000
_LONGEST_S: Final = 10 * 365 * 24 * 3600


@click.group(cls=Group)
def token() -> None:
    """Make, show and revoke the tokens that a server asks for.

    They work on its database, whether or not it runs. As soon as there is one, the server asks
    every client for a token. What each role may do: docs/rights.md.
    """


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it is for.")
@click.option("--session", metavar="ID", help="Bind it to one session.")
@click.option(
    "--workspace", metavar="NAME", help="Bind it to the sessions with this workspace id or name."
)
@click.option(
    "--expires",
    metavar="DURATION",
    help="How long it is good, such as 90d or 12h.  [default: until it is revoked]",
)
@place_options
@json_option
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    role: str,
    session: str | None,
    workspace: str | None,
    expires: str | None,
    data: Path | None,
    database_url: str | None,
    as_json: bool,
) -> None:
    """Make a token called NAME and print it, once: only its digest is stored.

    Roles: an admin may do all of it; an operator works with sessions and tasks; a viewer looks; an
    agent does the work of its own session, which --session or --workspace names; a runner uses the
    Agent Runner's services. Operators and viewers may be bound to a session or workspace, too.

    \b
    Examples:
      keruta server token create anna --role admin
      keruta server token create ws-7 --role agent --workspace ws-7 --expires 90d
      keruta server token create ci --role operator --json
    """
    from keruta_agent.server.access import tokens
    from keruta_agent.server.access.principals import Role

    scope = _scope(session, workspace)
    with (
        database_of(ctx, data, database_url, creates=True) as database,
        audited_command("keruta server token create"),
    ):
        made, secret = tokens.create(
            database, name, Role(role), scope=scope, lifetime_s=_lifetime_s(expires)
        )
    if as_json:
        print_json({**made, "token": secret})
    else:
        click.echo(secret)


@token.command("list")
@place_options
@json_option
@click.pass_context
def list_tokens(
    ctx: click.Context, data: Path | None, database_url: str | None, as_json: bool
) -> None:
    """List the tokens, revoked and expired ones too, the newest first.

    \b
    Examples:
      keruta server token list
      keruta server token list --json --data /var/lib/keruta
    """
    from keruta_agent.cli.tables import print_table
    from keruta_agent.server.access import tokens

    with database_of(ctx, data, database_url) as database:
        found = tokens.newest(database, _MOST_LISTED)
    if as_json:
        print_json(found)
    elif found:
        rows = [[_shown(each[key]) for key in _COLUMNS] for each in found]
        print_table([title.upper() for title in _COLUMNS.values()], rows, is_overview=True)
    else:
        click.echo("There are no tokens.")


@token.command()
@click.argument("name")
@place_options
@json_option
@click.pass_context
def revoke(
    ctx: click.Context, name: str, data: Path | None, database_url: str | None, as_json: bool
) -> None:
    """Revoke the token with this name or id, and end its logins; servers refuse it in a second.

    \b
    Examples:
      keruta server token revoke ws-7
      keruta server token revoke anna --data /var/lib/keruta
    """
    from keruta_agent.server.access import tokens

    with (
        database_of(ctx, data, database_url) as database,
        audited_command("keruta server token revoke"),
    ):
        revoked = tokens.revoke(database, name)
    if as_json:
        print_json(revoked)
    else:
        click.echo(f"revoked the token {revoked['name']} ({revoked['id']})")


_COLUMNS: Final = {
    "name": "name",
    "role": "role",
    "scope": "scope",
    "state": "state",
    "lastUsedAt": "last used",
    "expiresAt": "expires",
    "createdAt": "created",
    "id": "id",
}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{kind} {name}" for kind, name in value.items())
    return "-" if value is None else str(value)


def _scope(session: str | None, workspace: str | None) -> Scope | None:
    from keruta_agent.server.access.principals import Scope, ScopeKind

    if session is not None and workspace is not None:
        raise errors.UsageError(
            "a token is bound to a session or to a workspace",
            advice="Give --session or --workspace, not both",
        )
    if session is not None:
        return Scope(kind=ScopeKind.SESSION, value=session)
    return None if workspace is None else Scope(kind=ScopeKind.WORKSPACE, value=workspace)


def _lifetime_s(duration: str | None) -> float | None:
    from keruta_agent.core.units import parse_duration

    if duration is None:
        return None
    try:
        seconds = parse_duration(duration)
    except ValueError as exc:
        raise errors.UsageError(
            f"--expires: {exc}", advice="Write it like 90d, 12h or 30m"
        ) from exc
    if not 0 < seconds <= _LONGEST_S:
        raise errors.UsageError(
            f"--expires {duration} is no time to be good for",
            advice="Give more than 0 and up to ten years, such as 90d",
        )
    return seconds
