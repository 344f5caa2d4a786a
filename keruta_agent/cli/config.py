"""``keruta config``: the settings in force, the file that holds them, and the queue."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from keruta_agent.cli import completion
from keruta_agent.cli.options import Group, PathType, config_path, json_option, load, print_json
from keruta_agent.cli.tables import print_table, printable

if TYPE_CHECKING:
    import pathlib

    from keruta_agent.core.settings.schema import Settings


@click.group(cls=Group)
def config() -> None:
    """Show, change and check the agent's settings."""


@config.command("set")
@click.argument("key", shell_complete=completion.keys)
@click.argument("value", shell_complete=completion.values)
@click.pass_context
def set_value(ctx: click.Context, key: str, value: str) -> None:
    """Set KEY, such as api.url, in the config file. VALUE - reads it from standard input.

    The file is that of --config or KERUTA_CONFIG, else ~/.keruta/config.yaml; comments and all
    else in it stay as they are. A secret is never taken from the command line, which other users
    can see.

    \b
    Examples:
      keruta config set api.url http://keruta-api:8080
      keruta config set artifacts.extensions .pdf,.csv
      pass show keruta | keruta config set api.token -
    """
    from keruta_agent.cli import config_change

    config_change.set_value(config_path(ctx), key, value)


@config.command()
@click.argument("key", shell_complete=completion.keys)
@click.pass_context
def unset(ctx: click.Context, key: str) -> None:
    """Take KEY out of the config file, so that its default is in force again.

    \b
    Examples:
      keruta config unset api.timeout
    """
    from keruta_agent.cli import config_change

    config_change.unset(config_path(ctx), key)


@config.command()
@json_option
@click.pass_context
def path(ctx: click.Context, as_json: bool) -> None:
    """Print which config files are looked for, and which one is used.

    \b
    Examples:
      keruta config path
    """
    from keruta_agent.core.settings.sources import config_candidates

    looked_for = []
    used = False
    for candidate in config_candidates(config_path(ctx), os.environ):
        there = candidate.path.exists()
        state = "hidden" if there and used else "used" if there else "not there"
        used = used or there
        looked_for.append((str(candidate.path), state, candidate.origin))
    if as_json:
        names = ("path", "state", "named_by")
        print_json([dict(zip(names, each, strict=True)) for each in looked_for])
        return
    for name, state, origin in looked_for:
        click.echo(f"{printable(name)}  {state}" + (f" (named by {origin})" if origin else ""))


@config.command()
@click.argument("file", required=False, type=PathType(dir_okay=False))
@click.pass_context
def check(ctx: click.Context, file: pathlib.Path | None) -> int:
    """Check the config file, or FILE, and name all that is wrong with it, line by line.

    Without FILE the variables of the environment are checked as well. Exits with 2 when something
    cannot be used.

    \b
    Examples:
      keruta config check
      keruta config check /etc/keruta/config.yaml
    """
    from keruta_agent.cli import config_change

    return config_change.check(config_path(ctx), file)


@config.command()
@json_option
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Show each setting, where it comes from, and what is in the queue.

    \b
    Examples:
      keruta config show
      keruta config show --json
    """
    from keruta_agent.core.settings import schema

    loaded = load(ctx)
    shown = schema.shown(loaded.settings)
    queue = _queue(loaded.settings)
    if as_json:
        settings = {
            info.key or info.name: {
                "value": shown[info.name],
                "source": loaded.sources[info.name].kind,
                "detail": loaded.sources[info.name].detail,
            }
            for info in schema.SETTINGS
        }
        file = None if loaded.config_file is None else str(loaded.config_file)
        print_json({"settings": settings, "config_file": file, "queue": queue})
        return
    print_table(
        ("SETTING", "VALUE", "FROM"),
        [
            (
                info.key or info.name,
                _text(shown[info.name]),
                loaded.sources[info.name].detail or loaded.sources[info.name].kind,
            )
            for info in schema.SETTINGS
        ],
    )
    click.echo(f"\nConfig file: {loaded.config_file or 'none'}")
    click.echo(f"Queue: {queue['path']}" + ("" if queue["exists"] else " (not there yet)"))
    jobs = queue["jobs"]
    click.echo(
        f"  jobs: {jobs['waiting']} waiting, {jobs['running']} running, "
        f"{jobs['scheduled']} scheduled, {jobs['finished']} finished"
    )
    if queue["paused"] is not None:
        click.echo(f"  paused: {queue['paused']}; go on with: keruta queue resume")
    outbox = queue["outbox"]
    click.echo(f"  for the API: {outbox['pending']} waiting, {outbox['parked']} refused by it")


def _queue(settings: Settings) -> dict[str, Any]:
    from keruta_agent.agent.store.jobs import JobState
    from keruta_agent.agent.store.sqlite.database import DATABASE_NAME
    from keruta_agent.agent.store.store import Records

    path = settings.base_dir / DATABASE_NAME
    records = Records.open_existing(settings.base_dir)
    counts = dict.fromkeys(JobState, 0)
    pending = parked = 0
    paused = None
    if records is not None:
        counts = records.jobs.counts()
        paused = records.jobs.pause_reason()
        outbox = records.outbox.counts()
        pending, parked = outbox.pending, outbox.dead_letters
        records.close()
    return {
        "path": str(path),
        "exists": records is not None,
        "paused": paused,
        "jobs": {state.value: number for state, number in counts.items()},
        "outbox": {"pending": pending, "parked": parked},
    }


def _text(value: Any) -> str:
    if value is None or value == [] or value == ():
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)
