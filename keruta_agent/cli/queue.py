"""``keruta queue list|show|cancel``: the agent's jobs."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import click

from keruta_agent import errors
from keruta_agent.cli.following import cancel as cancel_job
from keruta_agent.cli.options import json_option, load, open_records, print_json
from keruta_agent.cli.tables import ago, duration, local_time, print_table
from keruta_agent.records.database import Database
from keruta_agent.records.jobs import Job, Jobs, JobState
from keruta_agent.records.outbox import Outbox
from keruta_agent.records.runs import Run, Runs


@click.group()
def queue() -> None:
    """Shows and changes what the agent has to do."""


@queue.command("list")
@click.option("--all", "show_all", is_flag=True, help="Also all jobs that have ended.")
@json_option
@click.pass_context
def list_jobs(ctx: click.Context, show_all: bool, as_json: bool) -> None:
    """Lists what runs, what waits in its order, and what ended last."""
    settings = load(ctx).settings
    database = open_records(settings)
    jobs = [] if database is None else _listed(Jobs(database), show_all)
    if as_json:
        print_json([_summary(job) for job in jobs])
        return
    if not jobs:
        click.echo("No jobs. Hand one in with: keruta execute --detach SCRIPT")
        return
    now = time.time()
    print_table(
        ("JOB", "STATE", "PRIORITY", "FILED", "TASK", "NAME", "MESSAGE"),
        [
            (
                str(job.id),
                _state(job),
                str(job.priority),
                ago(job.filed_at, now),
                (job.task_id or "-")[:13],
                job.name[:40],
                job.message.partition("\n")[0][:60],
            )
            for job in jobs
        ],
    )


@queue.command()
@click.argument("job")
@json_option
@click.pass_context
def show(ctx: click.Context, job: str, as_json: bool) -> None:
    """Shows all that is known of a job: JOB is its number, or the id of its task."""
    settings = load(ctx).settings
    database = open_records(settings)
    found = find_job(database, job)
    jobs = Jobs(_existing(database))
    runs = Runs(_existing(database), jobs, Outbox(_existing(database))).of_job(found.id)
    if as_json:
        print_json({**_summary(found), "runs": [_run(run) for run in runs]})
        return
    lines = [
        ("job", str(found.id)),
        ("name", found.name),
        ("task", found.task_id or "none: handed in on this machine"),
        ("session", found.session_id or "-"),
        ("state", _state(found)),
        ("priority", str(found.priority)),
        ("filed", local_time(found.filed_at)),
        ("message", found.message or "-"),
    ]
    for name, value in lines:
        click.echo(f"{name:<10}{value}")
    for run in runs:
        took = (run.ended_at or time.time()) - run.claimed_at
        outcome = run.outcome.value if run.outcome else f"running, {run.progress} %"
        click.echo(f"run {run.number:<6}{local_time(run.claimed_at)}, {duration(took)}, {outcome}")
    click.echo(f"\nIts output: keruta logs {found.id}")


@queue.command()
@click.argument("job")
@json_option
@click.pass_context
def cancel(ctx: click.Context, job: str, as_json: bool) -> None:
    """Cancels a job: JOB is its number, or the id of its task. A running one is stopped."""
    settings = load(ctx).settings
    database = open_records(settings)
    found = find_job(database, job)
    state = cancel_job(settings, _existing(database), found.id)
    if as_json:
        print_json({"job": found.id, "was": state.value})
        return
    said = {
        JobState.RUNNING: "is being stopped",
        JobState.FINISHED: "had ended already",
        JobState.FAILING: "had failed already",
    }
    click.echo(f"job {found.id} {said.get(state, 'is cancelled')}")


def find_job(database: Database | None, text: str) -> Job:
    """Returns a job by its number or its task's id.

    Raises:
        NotFound: there is none.
    """
    if database is not None:
        jobs = Jobs(database)
        found = jobs.get(int(text)) if text.isascii() and text.isdigit() else None
        found = found or jobs.by_task(text)
        if found is not None:
            return found
    raise errors.NotFound(f"there is no job or task {text}", advice="See: keruta queue list --all")


def _existing(database: Database | None) -> Database:
    if database is None:
        raise errors.NotFound("no agent has run here yet")
    return database


def _listed(jobs: Jobs, show_all: bool) -> list[Job]:
    if show_all:
        return jobs.listing()
    open_states = [state for state in JobState if state is not JobState.FINISHED]
    return jobs.listing(states=open_states) + jobs.listing(states=[JobState.FINISHED], limit=10)


def _state(job: Job) -> str:
    return job.outcome or job.state.value if job.state is JobState.FINISHED else job.state.value


def _summary(job: Job) -> dict[str, Any]:
    values = dataclasses.asdict(job)
    del values["work"]
    return values


def _run(run: Run) -> dict[str, Any]:
    values = dataclasses.asdict(run)
    del values["token"]
    return values
