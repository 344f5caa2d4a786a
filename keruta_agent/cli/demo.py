"""``keruta demo``: a session's tasks from beginning to end, on this machine alone."""

from __future__ import annotations

import click

from keruta_agent.cli.options import json_option, print_json


@click.command()
@click.option("--keep", is_flag=True, help="Leave server and daemon running afterwards.")
@click.option(
    "--runner", is_flag=True, help="Show a coding task of the Agent Runner instead, with a model."
)
@json_option
def demo(keep: bool, runner: bool, as_json: bool) -> int:
    """Shows all of it on this machine: a server, a daemon, and the tasks of a session.

    Everything lives in a temporary directory and is gone afterwards; your settings are neither
    used nor changed. Exits with 0 when every task ended as it should, else with 1.

    \b
    Examples:
      keruta demo
      keruta demo --keep
      keruta demo --runner
    """
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
