"""``keruta server audit``: who changed what, and whom the server has refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli.options import json_option, print_json
from keruta_agent.cli.server_place import database_of, place_options

if TYPE_CHECKING:
    from pathlib import Path

_COLUMNS: Final = ("TIME", "TOKEN", "ROLE", "FROM", "WHAT", "OF", "RESULT")
#: As many as a server keeps.
_MOST: Final = 100_000


@click.command()
@click.option(
    "--limit",
    type=click.IntRange(1, _MOST),
    default=50,
    show_default=True,
    help="How many entries, the newest.",
)
@place_options
@json_option
@click.pass_context
def audit(
    ctx: click.Context, limit: int, data: Path | None, database_url: str | None, as_json: bool
) -> None:
    """Show who changed what at a server, and whom it has refused, the newest entry first.

    It holds the writes of people, commands about tokens, logins, wrong tokens and refusals, and
    not what agents do. It works on the server's database, whether or not it runs.

    \b
    Examples:
      keruta server audit
      keruta server audit --limit 1000 --json --data /var/lib/keruta
    """
    from keruta_agent.cli.tables import print_table
    from keruta_agent.server.store import audit_rows

    with database_of(ctx, data, database_url) as database:
        entries = audit_rows.newest(database, limit)
    if as_json:
        print_json(entries)
    elif entries:
        print_table(_COLUMNS, [_row(entry) for entry in entries], is_overview=True)
    else:
        click.echo("Nothing was changed yet.")


def _row(entry: dict[str, Any]) -> list[str]:
    is_done = not entry["detail"]
    return [
        entry["at"],
        entry["token"] or "-",
        entry["role"] or "-",
        entry["address"] or "-",
        f"{entry['method']} {entry['path']}",
        entry["target"] or "-",
        "done" if is_done else f"{entry['status']} {entry['detail']}",
    ]
