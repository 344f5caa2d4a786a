"""``keruta logs``: what a job wrote."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING, Final

import click

from keruta_agent import errors
from keruta_agent.cli.jobs import open_job
from keruta_agent.cli.options import load

if TYPE_CHECKING:
    from keruta_agent.journey.loglines import LogReader
    from keruta_agent.model import LogEntry
    from keruta_agent.records.run import Run
    from keruta_agent.records.runs import Runs

LOOK_S: Final = 0.1
#: Ranges that are read at once, so that a log of any size needs little memory.
RANGES_A_READ: Final = 20


@click.command()
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--run", "number", type=click.IntRange(1), help="Not the last run, but this one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.pass_context
def logs(ctx: click.Context, job: str, follow: bool, number: int | None, as_json: bool) -> None:
    """Prints the log of a job: JOB is its number, or the id of its task.

    \b
    Examples:
      keruta logs 12
      keruta logs -f 29229ea1-8c41-4ca2-b064-7a7a7672dd1a
    """
    from keruta_agent.daemon.wiring import make_log_reader
    from keruta_agent.records.jobs import JobState

    settings = load(ctx).settings
    records, found = open_job(settings, job)
    reader, _ = make_log_reader(settings, records)
    printed: dict[int, int] = {}
    while True:
        current = records.jobs.get(found.id) or found
        run = _chosen(records.runs.of_job(found.id), number)
        more = run is not None and _print_new(reader, records.runs, run, printed, as_json)
        if not more and (not follow or current.state is JobState.FINISHED):
            break
        if not more:
            time.sleep(LOOK_S)
    if not printed and not follow:
        click.echo(f"job {found.id} has written nothing yet", err=True)


def _chosen(runs: list[Run], number: int | None) -> Run | None:
    if number is None:
        return runs[-1] if runs else None
    if number > len(runs):
        raise errors.NotFound(f"the job has no run {number}", advice=f"It has {len(runs)}")
    return runs[number - 1]


def _print_new(
    reader: LogReader, runs: Runs, run: Run, printed: dict[int, int], as_json: bool
) -> bool:
    ranges = runs.ranges(run.id, first=printed.get(run.id, 0), limit=RANGES_A_READ)
    for piece in ranges:
        try:
            entries = reader.read(run.id, [piece])
        except FileNotFoundError as exc:
            raise errors.NotFound(
                f"the output of run {run.number} was removed to make room",
                advice="runs.keep_age and runs.keep_size say how long it is kept",
            ) from exc
        for entry in entries:
            click.echo(_line(entry, as_json))
        printed[run.id] = piece.sequence + 1
    sys.stdout.flush()
    return bool(ranges)


def _line(entry: LogEntry, as_json: bool) -> str:
    if as_json:
        import json

        from keruta_agent.wire import format_date

        values = {**dataclasses.asdict(entry), "timestamp": format_date(entry.timestamp)}
        return json.dumps(values, ensure_ascii=False)
    if entry.source != "agent":
        return entry.message
    fields = "".join(f" {name}={value}" for name, value in entry.metadata.items())
    return f"[{entry.level}] {entry.message}{fields}"
