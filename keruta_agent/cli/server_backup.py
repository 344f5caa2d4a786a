"""``keruta server backup`` and ``restore``: what a server keeps, in one file and back."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli.options import PathType, json_option, load, print_json
from keruta_agent.core import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keruta_agent.server.backup.contents import Contents

#: Seconds until something is said of how far it is, and then again: on a terminal, and elsewhere.
_FIRST_S: Final = 1.0
_AGAIN_S: Final = (0.2, 10.0)

_data_option = click.option(
    "--data",
    "--data-dir",
    type=PathType(file_okay=False),
    help="The server's data directory.  [default: server/ in the base directory]",
)


@click.command()
@click.argument("file", type=PathType(dir_okay=False))
@_data_option
@click.option(
    "--without-artifacts",
    is_flag=True,
    help="Only the databases: the artifacts are copied otherwise, or are in an object store.",
)
@json_option
@click.pass_context
def backup(
    ctx: click.Context, file: Path, data: Path | None, without_artifacts: bool, as_json: bool
) -> None:
    """Back up a server's databases and artifacts into FILE, also while it runs.

    FILE is a tar for this user alone, and replaces an earlier one when it is whole and has been
    read back. It holds what the keruta API and the runner's services have stored. Not in it are
    answers to secret questions that nobody has fetched, logins to the pages, the clones of the
    pool, and the server's options.

    Writers wait for nothing meanwhile. Exits with 1 if artifacts were found to be damaged; FILE
    holds all the others then.

    What is in PostgreSQL or in an object store is backed up with their own tools: see
    docs/operating.md.

    \b
    Examples:
      keruta server backup /var/backups/keruta.tar
      keruta server backup --data /var/lib/keruta --json keruta.tar
    """
    _refuse_elsewhere(ctx, without_artifacts)
    from keruta_agent.server.backup.create import create
    from keruta_agent.server.store import restored

    data_dir = _data_dir(ctx, data)
    if data_dir.is_dir():
        restored.settle(data_dir)
    with _Progress() as progress:
        made = create(data_dir, file, with_artifacts=not without_artifacts, report=progress.report)
    _print(made, file, as_json, f"backed up {data_dir} to {file}", size=file.stat().st_size)
    if made.damaged:
        raise errors.AgentStateError(
            f"{made.damaged} artifacts in {data_dir} are damaged or missing, such as"
            f" {made.damaged_names[0]}",
            advice=f"{file} was written all the same. Restore their files from an earlier backup,"
            " or give --without-artifacts if they are in an object store",
        )


@click.command()
@click.argument("file", type=PathType(exists=True, dir_okay=False))
@_data_option
@click.option(
    "--replace",
    is_flag=True,
    help="Also into a directory that has data, which is kept in its subdirectory 'replaced'.",
)
@json_option
@click.pass_context
def restore(
    ctx: click.Context, file: Path, data: Path | None, replace: bool, as_json: bool
) -> None:
    """Make a server's data directory from FILE, which `keruta server backup` has written.

    All of it is checked before it takes effect. The server must not run. Agents go on by
    themselves when it is back: what they have told since the backup and is not in it, the server
    has forgotten.

    \b
    Examples:
      keruta server restore /var/backups/keruta.tar --data /var/lib/keruta
      keruta server restore keruta.tar --replace
    """
    from keruta_agent.server.backup.restore import restore as restore_backup

    data_dir = _data_dir(ctx, data)
    with _Progress() as progress:
        made = restore_backup(file, data_dir, replace=replace, report=progress.report)
    _print(made, file, as_json, f"restored {file} to {data_dir}", directory=str(data_dir))


def _data_dir(ctx: click.Context, data: Path | None) -> Path:
    above: Path | None = ctx.parent.params.get("data") if ctx.parent is not None else None
    return data or above or load(ctx).settings.base_dir / "server"


def _refuse_elsewhere(ctx: click.Context, without_artifacts: bool) -> None:
    """Refuse to back up what is kept elsewhere.

    Raises:
        UsageError: the server that is meant keeps it elsewhere.
    """
    server = {} if ctx.parent is None else ctx.parent.params
    if server.get("database_url"):
        raise errors.UsageError(
            "the server's database is PostgreSQL, which is backed up by its own tools",
            advice="Run pg_dump --format=custom first, then copy the artifacts (the directory"
            " 'artifacts' of --data, or the bucket with its versions): docs/operating.md says why"
            " in this order",
        )
    if server.get("artifact_store") not in (None, "", "file:") and not without_artifacts:
        raise errors.UsageError(
            "the artifacts are in an object store, which keeps versions of them itself",
            advice="Turn versioning on for the bucket, and give --without-artifacts",
        )


def _print(made: Contents, file: Path, as_json: bool, done: str, **more: Any) -> None:
    from keruta_agent.server.backup.contents import NOT_INCLUDED

    if as_json:
        print_json({"file": str(file), **more, **made.to_json(), "notIncluded": list(NOT_INCLUDED)})
        return
    tasks = sum(tables.get("tasks", 0) for tables in made.databases.values())
    artifacts = f"{made.artifacts} artifacts" if made.with_artifacts else "without artifacts"
    click.echo(f"{done}: {tasks} tasks, {artifacts}, as of {made.created_at}")
    click.echo(f"Not in it: {', '.join(NOT_INCLUDED)}")


class _Progress:
    """Says on standard error how far something is that takes longer than a moment."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._due_at = time.monotonic() + _FIRST_S
        self._width = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            click.echo(f"\r{' ' * self._width}\r", err=True, nl=False)

    @property
    def report(self) -> Callable[[str, int, int], None]:
        """What is called with each step."""
        return self._report

    def _report(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._due_at:
            return
        self._due_at = now + _AGAIN_S[not self._is_terminal]
        text = f"{100 * done // max(total, 1)} % {what}"
        if self._is_terminal:
            click.echo(f"\r{text:<{self._width}}", err=True, nl=False)
            self._width = max(self._width, len(text))
        else:
            click.echo(text, err=True)
