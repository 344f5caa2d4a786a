"""Whose database a command of ``keruta server`` works on, and who runs the command."""

from __future__ import annotations

import contextlib
import getpass
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keruta_agent.cli.options import PathType, load

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from keruta_agent.server.store.database import Database

F = TypeVar("F", bound=Callable[..., Any])


def place_options(command: F) -> F:
    """Add the options that say whose database it is."""
    url = click.option(
        "--database-url",
        envvar="KERUTA_SERVER_DATABASE_URL",
        help="The server's database, if it is not in the data directory.",
    )
    data = click.option(
        "--data",
        type=PathType(file_okay=False),
        help="The server's data directory.  [default: server/ in the base directory]",
    )
    return data(url(command))


def place_of(ctx: click.Context, data: Path | None, url: str | None) -> tuple[Path, str | None]:
    """Return the data directory and the database URL that a command's options name.

    What they leave open the options of ``keruta server`` before the command say.
    """
    above: dict[str, Any] = {}
    parent = ctx.parent
    while parent is not None and not above:
        above = parent.params if parent.info_name == "server" else {}
        parent = parent.parent
    data_dir = data or above.get("data") or load(ctx).settings.base_dir / "server"
    return data_dir, url or above.get("database_url")


def database_of(
    ctx: click.Context, data: Path | None, url: str | None, *, creates: bool = False
) -> AbstractContextManager[Database]:
    """Open the database that the options of a command name."""
    from keruta_agent.server.access.open_tokens import opened

    return opened(*place_of(ctx, data, url), creates=creates)


@contextlib.contextmanager
def audited_command(name: str) -> Iterator[None]:
    """Have what the block changes stand in the audit log as done by a command of this user."""
    from keruta_agent.server.store import audit_rows

    audit_rows.expect(
        audit_rows.Entry(token="", role="", address=_user(), method="COMMAND", path=name)
    )
    try:
        yield
    finally:
        audit_rows.expect(None)


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # it has no name
        name = "?"
    return f"{name}@{socket.gethostname()}"
