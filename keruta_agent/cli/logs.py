"""``keruta logs``: what a job wrote."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from keruta_agent.cli import completion
from keruta_agent.cli.jobs import open_job
from keruta_agent.cli.options import level_of, load
from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.agent.store.run import Run

LOOK_S: Final = 0.1
STREAMS: Final = ("stdout", "stderr", "agent")


@click.command()
@click.argument("job", shell_complete=completion.jobs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("-n", "--tail", type=click.IntRange(0), metavar="N", help="Only the last N entries.")
@click.option(
    "--level",
    metavar="LEVEL",
    shell_complete=completion.levels,
    help="Only entries of this level and above.",
)
@click.option(
    "--stream",
    "streams",
    multiple=True,
    type=click.Choice(STREAMS),
    help="Only this: what was printed, or said with keruta log (agent).",
)
@click.option("--since", metavar="TIME", help="Only what came since: 10m (ago), or a date.")
@click.option("-t", "--timestamps", is_flag=True, help="Put the time before each line.")
@click.option("--run", "number", type=click.IntRange(1), help="Not the last run, but this one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.pass_context
def logs(
    ctx: click.Context,
    job: str,
    follow: bool,
    tail: int | None,
    level: str | None,
    streams: tuple[str, ...],
    since: str | None,
    timestamps: bool,
    number: int | None,
    as_json: bool,
) -> None:
    """Print the log of a job: JOB is its number, or the id of its task.

    Colours are shown on a terminal only; nothing else that a script prints can act on it.

    \b
    Examples:
      keruta logs 12
      keruta logs -f --tail 20 29229ea1-8c41-4ca2-b064-7a7a7672dd1a
      keruta logs 12 --level WARN --since 10m --timestamps
    """
    from keruta_agent.agent.daemon.wiring import make_log_reader
    from keruta_agent.agent.store.jobs import JobState
    from keruta_agent.cli import log_view

    wanted = log_view.Wanted(
        level=None if level is None else level_of(level),
        streams=streams or STREAMS,
        since=None if since is None else log_view.moment_of(since),
    )
    settings = load(ctx).settings
    records, found = open_job(settings, job)
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and not as_json
    reader, _ = make_log_reader(settings, records, colours=colours)
    printer = log_view.Printer(as_json, timestamps)
    shown = log_view.Shown(reader, records.runs, wanted, printer, tail)
    while True:
        current = records.jobs.get(found.id) or found
        run = _chosen(records.runs.of_job(found.id), number)
        more = run is not None and shown.show_new(run)
        if not more and (not follow or current.state is JobState.FINISHED):
            break
        if not more:
            time.sleep(LOOK_S)
    if not shown.has_read_any and not follow:
        click.echo(f"job {found.id} has written nothing yet", err=True)


def _chosen(runs: list[Run], number: int | None) -> Run | None:
    if number is None:
        return runs[-1] if runs else None
    if number > len(runs):
        raise errors.NotFound(f"the job has no run {number}", advice=f"It has {len(runs)}")
    return runs[number - 1]
