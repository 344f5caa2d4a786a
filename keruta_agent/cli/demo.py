"""``keruta demo``: a session's tasks from beginning to end, on this machine alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keruta_agent.cli.options import PathType, json_option, print_json

if TYPE_CHECKING:
    import pathlib


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
def demo(keep: bool, runner: bool, kept_in: pathlib.Path | None, as_json: bool) -> int:
    """Shows all of it on this machine: a server, a daemon, and the tasks of a session.

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
        from keruta_agent.cli.demo_stop import stop_kept

        stop_kept(kept_in)
        click.echo("No process and no file of it is left.")
        return 0
    if runner:
        if keep:
            raise click.UsageError("--keep and --runner do not go together")
        from keruta_agent.cli import demo_runner

        return demo_runner.show(as_json=as_json)
    import dataclasses

    from keruta_agent.cli import demo_outcome
    from keruta_agent.cli.demo_processes import Interruption
    from keruta_agent.cli.demo_showing import WANTED, Showing
    from keruta_agent.cli.demo_view import Silent, View, make_view

    view: View = Silent() if as_json else make_view(most_tasks=len(WANTED) + 1)
    with Interruption().heard() as interruption:
        run = Showing(view, interruption, keep=keep)
        kept = False
        try:
            outcomes, complaints = run.play()
            kept = keep
            if kept:
                run.note_processes()
        finally:
            if not kept:
                run.processes.remove()
        if as_json:
            tasks = [dataclasses.asdict(outcome) for outcome in outcomes]
            print_json({"tasks": tasks, "complaints": complaints, **run.addresses(kept)})
        else:
            demo_outcome.print_outcome(outcomes, complaints)
            if kept:
                run.tell_addresses()
            else:
                click.echo("No process and no file of it is left.")
    return 1 if complaints else 0
