"""``keruta demo``: a session's tasks from beginning to end, on this machine alone."""

from __future__ import annotations

from pathlib import Path

import click

from keruta_agent.cli.options import PathType, json_option


@click.command()
@click.option("--keep", is_flag=True, help="Leave server and daemon running afterwards.")
@click.option(
    "--runner", is_flag=True, help="Show a coding task of the Agent Runner instead, with a model."
)
@click.option(
    "--stop",
    "kept_in",
    type=PathType(file_okay=False, exists=True),
    help="End the demo that was kept in this directory, and remove it.",
)
@json_option
def demo(keep: bool, runner: bool, kept_in: Path | None, as_json: bool) -> int:
    """Show all of it on this machine: a server, a daemon, and the tasks of a session.

    Everything lives in a temporary directory and is gone afterwards; your settings are neither
    used nor changed. Exits with 0 when every task ended as it should, else with 1.

    \b
    Examples:
      keruta demo
      keruta demo --keep
      keruta demo --runner
    """
    if kept_in is not None:
        if keep or runner:
            raise click.UsageError("--stop starts no demo")
        from keruta_agent.soak import demo_world

        demo_world.stop_kept(kept_in)
        click.echo("No process and no file of it is left.")
        return 0
    if runner:
        if keep:
            raise click.UsageError("--keep and --runner do not go together")
        from keruta_agent.cli import demo_runner

        return demo_runner.show(as_json=as_json)
    from keruta_agent.cli import demo_showing

    return demo_showing.show(keep=keep, as_json=as_json)
