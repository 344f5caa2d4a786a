"""The options of ``keruta server`` that say how long what is kept, and ``keruta server prune``."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from keruta_agent.cli.options import json_option, print_json
from keruta_agent.cli.server_place import place_of, place_options
from keruta_agent.core import errors

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.server.retention.policy import Policy
    from keruta_agent.server.retention.pruned import Pruned
    from keruta_agent.server.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])

_LIMIT: Final = "LIMIT"

_OPTIONS: Final = (
    click.option(
        "--retain-sessions",
        envvar="KERUTA_SERVER_RETAIN_SESSIONS",
        metavar=_LIMIT,
        help="How long ended sessions are kept: an age (90d), a number of the newest (1000), or"
        " both (90d,1000).  [default: for ever]",
    ),
    click.option(
        "--retain-logs",
        envvar="KERUTA_SERVER_RETAIN_LOGS",
        metavar=_LIMIT,
        help="How long logs of ended tasks are kept: an age, a number of tasks, or both."
        "  [default: for ever]",
    ),
    click.option(
        "--retain-artifacts",
        envvar="KERUTA_SERVER_RETAIN_ARTIFACTS",
        metavar=_LIMIT,
        help="How long artifacts of ended tasks are kept: an age, a number of tasks, or both."
        "  [default: for ever]",
    ),
    click.option(
        "--retain-coding",
        envvar="KERUTA_SERVER_RETAIN_CODING",
        metavar=_LIMIT,
        help="How long ended coding tasks are kept with their attempts: an age, a number, or both."
        "  [default: for ever]",
    ),
    click.option(
        "--prune-live-sessions",
        envvar="KERUTA_SERVER_PRUNE_LIVE_SESSIONS",
        is_flag=True,
        help="Prune logs and artifacts of ended tasks also where their session goes on.",
    ),
)


def retention_options(command: F) -> F:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def policy_of(
    sessions: str | None,
    logs: str | None,
    artifacts: str | None,
    coding: str | None,
    *,
    in_live_sessions: bool,
) -> Policy:
    """Return what the options say.

    Raises:
        UsageError: one of them has an invalid value.
    """
    from keruta_agent.server.retention.policy import Policy, parse_limit

    given = {"sessions": sessions, "logs": logs, "artifacts": artifacts, "coding": coding}
    limits = {}
    for name, text in given.items():
        try:
            limits[name] = None if text is None else parse_limit(text)
        except ValueError as exc:
            raise errors.UsageError(
                f"--retain-{name} has an invalid value: {text}", advice=str(exc)
            ) from exc
    return Policy(**limits, in_live_sessions=in_live_sessions)


@click.command()
@place_options
@retention_options
@click.option("--dry-run", is_flag=True, help="Count what would go, and change nothing.")
@click.option(
    "--vacuum",
    is_flag=True,
    help="Then write the SQLite file anew, as small as it can be; the server must be stopped.",
)
@json_option
@click.pass_context
def prune(
    ctx: click.Context,
    data: Path | None,
    database_url: str | None,
    retain_sessions: str | None,
    retain_logs: str | None,
    retain_artifacts: str | None,
    retain_coding: str | None,
    prune_live_sessions: bool,
    dry_run: bool,
    vacuum: bool,
    as_json: bool,
) -> None:
    """Remove old sessions, logs and artifacts once, beside a running server or without one.

    Nothing goes of a session that is pinned, has not ended, or has tasks that wait or run.

    \b
    Examples:
      keruta server prune --retain-sessions 90d --retain-logs 30d --dry-run
      keruta server prune --retain-logs 10000
      keruta server prune --vacuum
    """
    from keruta_agent.server.retention import rounds
    from keruta_agent.server.retention.pruned import Pruned
    from keruta_agent.server.retention.pruner import Pruner
    from keruta_agent.server.store.store import Store

    policy = policy_of(
        retain_sessions,
        retain_logs,
        retain_artifacts,
        retain_coding,
        in_live_sessions=prune_live_sessions,
    )
    if not policy.is_set and not vacuum:
        raise errors.UsageError(
            "nothing says what is old",
            advice="Give a --retain option, such as --retain-sessions 90d",
        )
    if dry_run and vacuum:
        raise errors.UsageError("--vacuum changes the file, and --dry-run nothing")
    place = place_of(ctx, data, database_url)
    with contextlib.closing(Store.open_beside(*place, is_alone=vacuum)) as store:
        if vacuum and store.database.postgresql:
            raise errors.UsageError(
                "--vacuum is for SQLite", advice="PostgreSQL does it by itself (autovacuum)"
            )
        if dry_run:
            _say(Pruner(store, policy).due(), store, as_json=as_json, is_dry=True)
            return
        total = sum(rounds.prune(store, policy), Pruned())
        if vacuum:
            rounds.write_anew(store.database)
        _say(total, store, as_json=as_json, is_dry=False)


def _say(pruned: Pruned, store: Store, *, as_json: bool, is_dry: bool) -> None:
    from keruta_agent.server.retention import rounds

    if as_json:
        print_json(dataclasses.asdict(pruned) | {"dry_run": is_dry})
        return
    click.echo(
        f"{'would prune' if is_dry else 'pruned'} {pruned.sessions} sessions, {pruned.tasks} tasks,"
        f" {pruned.log_lines} lines of logs, {pruned.artifacts} artifacts,"
        f" {pruned.coding_tasks} coding tasks"
    )
    if not is_dry and not store.database.postgresql and not rounds.can_shrink(store.database):
        click.echo(
            f"{store.database.name} was made by an earlier version and keeps its size; stop the"
            " server once and run: keruta server prune --vacuum"
        )
