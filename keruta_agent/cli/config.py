"""``keruta config show``: the settings in force, and the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keruta_agent.cli.options import json_option, load, print_json
from keruta_agent.cli.tables import print_table

if TYPE_CHECKING:
    from keruta_agent.settings.schema import Settings


@click.group()
def config() -> None:
    """Shows the agent's settings."""


@config.command()
@json_option
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """Shows each setting, where it comes from, and what is in the queue.

    \b
    Examples:
      keruta config show
      keruta config show --json
    """
    from keruta_agent.settings import schema

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
    from keruta_agent.records.database import DATABASE_NAME
    from keruta_agent.records.jobs import JobState
    from keruta_agent.records.store import Records

    path = settings.base_dir / DATABASE_NAME
    records = Records.open_existing(settings.base_dir)
    counts = dict.fromkeys(JobState, 0)
    pending = parked = 0
    paused = None
    if records is not None:
        counts = records.jobs.counts()
        paused = records.jobs.pause_reason()
        outbox = records.outbox.counts()
        pending, parked = outbox.pending, outbox.parked
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
