"""``keruta queue``: what the agent has to do, and changes to it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli import completion, usage
from keruta_agent.cli.jobs import open_existing, open_job
from keruta_agent.cli.options import PRIORITY, Group, json_option, load, print_json
from keruta_agent.cli.tables import ago, duration, local_time, print_table, printable

if TYPE_CHECKING:
    from keruta_agent.agent.store.jobs import Job, Jobs
    from keruta_agent.agent.store.questions import Question
    from keruta_agent.agent.store.run import Run
    from keruta_agent.agent.store.store import Records


#: Jobs that have not ended in a list for people, unless they ask for another number.
MOST_OPEN: Final = 100
_NEXT_DAEMON: Final = "no daemon runs; the next one takes it up"
#: What is said of a job that was cancelled, by the state in which it was.
_CANCELLED: Final = {
    "running": "is being stopped",
    "finished": "had ended already",
    "failing": "had failed already",
}


@click.group(cls=Group)
def queue() -> None:
    """Show and change what the agent has to do."""


@queue.command("list")
@click.option("--all", "show_all", is_flag=True, help="All jobs, also those that have ended.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Most jobs that have not ended.  [default: {MOST_OPEN}; all with --json]",
)
@json_option
@click.pass_context
def list_jobs(ctx: click.Context, show_all: bool, limit: int | None, as_json: bool) -> None:
    """List what runs, what waits in its order, and what ended last.

    \b
    Examples:
      keruta queue list
      keruta queue list --limit 1000
      keruta queue list --all --json
    """
    records = open_existing(load(ctx).settings)
    most = limit if limit or as_json or show_all else MOST_OPEN
    jobs = [] if records is None else _listed(records.jobs, show_all, most)
    asked = {} if records is None else _asked(records)
    if as_json:
        print_json([_job(job, asked) for job in jobs])
        return
    if records is not None and (paused := records.jobs.pause_reason()) is not None:
        click.echo(f"The queue is paused: {paused}. Go on with: keruta queue resume\n")
    if not jobs:
        click.echo("No jobs. Hand one in with: keruta execute --detach SCRIPT")
        return
    now = time.time()
    print_table(
        ("JOB", "STATE", "PRIORITY", "FILED", "TASK", "NAME", "MESSAGE"),
        [
            (
                str(job.id),
                _state(job, asked),
                str(job.priority),
                ago(job.filed_at, now),
                (job.task_id or "-")[:13],
                job.name[:40],
                _message(job, asked).partition("\n")[0][:60],
            )
            for job in jobs
        ],
        is_overview=True,
    )
    if records is not None and (more := _unlisted(records.jobs, jobs)):
        click.echo(f"\nand {more} more that have not ended; for all: keruta queue list --all")
    if records is not None and show_all and (pruned := records.retention.count()):
        click.echo(f"\n{pruned} jobs that ended earlier have been pruned (see retention.*)")


@queue.command()
@click.argument("job", shell_complete=completion.jobs)
@json_option
@click.pass_context
def show(ctx: click.Context, job: str, as_json: bool) -> None:
    """Show all that is known of a job: JOB is its number, or the id of its task.

    \b
    Examples:
      keruta queue show 12
    """
    from keruta_agent.agent.control import serialize
    from keruta_agent.agent.store.artifacts import ArtifactState, Owner
    from keruta_agent.cli.artifact import why_and_where

    records, found = open_job(load(ctx).settings, job)
    runs = records.runs.of_job(found.id)
    asked = _asked(records)
    files = records.artifacts.of(Owner(task_id=found.task_id, job_id=found.id))
    artifacts = [
        serialize.kept_artifact_to_json(each)
        for each in files
        if each.state is not ArtifactState.REMOVED
    ]
    if as_json:
        print_json(
            {
                **_job(found, asked),
                "runs": [_run(records, run) for run in runs],
                "artifacts": artifacts,
                "unsent": records.outbox.unsent(found.task_id) if found.task_id else 0,
            }
        )
        return
    lines = [
        ("job", str(found.id)),
        ("name", found.name),
        ("task", found.task_id or "none: handed in on this machine"),
        ("session", found.session_id or "-"),
        ("state", _state(found, asked)),
        ("priority", str(found.priority)),
        ("filed", local_time(found.filed_at)),
        ("message", _message(found, asked) or "-"),
    ]
    for name, value in lines:
        click.echo(f"{name:<10}{printable(value)}")
    for run in runs:
        took = (run.ended_at or time.time()) - run.claimed_at
        outcome = run.outcome.value if run.outcome else f"running, {run.progress} %"
        click.echo(f"run {run.number:<6}{local_time(run.claimed_at)}, {duration(took)}, {outcome}")
        used = records.usages.get(run.id)
        if used is not None:
            click.echo(f"{'':<10}{usage.described(used)}")
    for each in artifacts:
        note = f": {why}" if (why := why_and_where(each)) else ""
        click.echo(printable(f"artifact  {each['path']}, {each['state']}{note}"))
    click.echo(f"\nIts output: keruta logs {found.id}    Its story: keruta explain {found.id}")


@queue.command()
@click.argument("job", shell_complete=completion.jobs)
@json_option
@click.pass_context
def cancel(ctx: click.Context, job: str, as_json: bool) -> None:
    """Cancel a job: JOB is its number, or the id of its task. A running one is stopped.

    \b
    Examples:
      keruta queue cancel 12
    """
    from keruta_agent.agent.control.commands import Cancel
    from keruta_agent.cli.asking import ask

    settings = load(ctx).settings
    _, found = open_job(settings, job)
    cancelled = ask(settings, Cancel(job=found.id))
    if as_json:
        print_json({"job": cancelled.job, "was": cancelled.was})
        return
    what = _CANCELLED.get(cancelled.was, "is cancelled")
    click.echo(f"job {cancelled.job} {what}")


@queue.command()
@click.option("--reason", default="A person paused it", help="Shown to whoever looks.")
@json_option
@click.pass_context
def pause(ctx: click.Context, reason: str, as_json: bool) -> None:
    """Start no further job; the running one goes on.

    \b
    Examples:
      keruta queue pause --reason "the disk is being replaced"
    """
    from keruta_agent.agent.control.commands import Pause
    from keruta_agent.cli.asking import ask

    state = ask(load(ctx).settings, Pause(reason=reason))
    if as_json:
        print_json({"paused": state.paused, "running": state.running})
        return
    click.echo("paused" + ("; the running job goes on to its end" if state.running else ""))


@queue.command()
@json_option
@click.pass_context
def resume(ctx: click.Context, as_json: bool) -> None:
    """Start jobs again.

    \b
    Examples:
      keruta queue resume
    """
    from keruta_agent.agent.control.commands import Resume
    from keruta_agent.cli.asking import ask

    state = ask(load(ctx).settings, Resume(), without_daemon=_NEXT_DAEMON)
    if as_json:
        print_json({"paused": state.paused, "running": state.running})
        return
    click.echo("resumed" if state.was_paused else "the queue was not paused")


# An option that is not known may be a priority below 0.
@queue.command(context_settings={"ignore_unknown_options": True})
@click.argument("job", shell_complete=completion.jobs)
@click.argument("priority", type=PRIORITY)
@json_option
@click.pass_context
def move(ctx: click.Context, job: str, priority: int, as_json: bool) -> None:
    """Give a waiting job another priority: higher runs first, the older first among equals.

    \b
    Examples:
      keruta queue move 12 5
      keruta queue move 12 -5
    """
    from keruta_agent.agent.control.commands import Move
    from keruta_agent.cli.asking import ask

    settings = load(ctx).settings
    _, found = open_job(settings, job)
    moved = ask(settings, Move(job=found.id, priority=priority))
    if as_json:
        print_json({"job": moved.job, "priority": moved.priority, "place": moved.place})
        return
    where = "" if moved.place is None else f", place {moved.place} of {moved.waiting}"
    click.echo(f"job {moved.job} has priority {moved.priority} now{where}")


@queue.command()
@click.argument("job", shell_complete=completion.jobs)
@json_option
@click.pass_context
def retry(ctx: click.Context, job: str, as_json: bool) -> None:
    """Run a job that has ended once more, as a new one.

    A task at the API has one end, which stands; so a new task with the same script is filed there.

    \b
    Examples:
      keruta queue retry 12
    """
    from keruta_agent.agent.control.commands import Retry
    from keruta_agent.cli.asking import ask

    settings = load(ctx).settings
    _, found = open_job(settings, job)
    retried = ask(settings, Retry(job=found.id), without_daemon=_NEXT_DAEMON)
    if as_json:
        print_json({"job": retried.job, "task": retried.task})
    elif retried.task is not None:
        click.echo(f"filed as task {retried.task}")
    else:
        click.echo(f"queued as job {retried.job}")


def _listed(jobs: Jobs, show_all: bool, most_open: int | None) -> list[Job]:
    from keruta_agent.agent.store.jobs import OPEN_STATES, JobState

    listed = jobs.listing(states=OPEN_STATES, limit=most_open)
    return listed + jobs.listing(states=[JobState.FINISHED], limit=None if show_all else 10)


def _unlisted(jobs: Jobs, listed: Sequence[Job]) -> int:
    """Return how many jobs that have not ended are not in a list."""
    from keruta_agent.agent.store.jobs import OPEN_STATES

    counts = jobs.counts()
    listed_open = sum(job.state in OPEN_STATES for job in listed)
    return max(0, sum(counts[state] for state in OPEN_STATES) - listed_open)


def _asked(records: Records) -> dict[int, Question]:
    """Return what jobs wait for, by their numbers."""
    return {one.job_id: one.question for one in records.questions.open_ones()}


def _message(job: Job, asked: Mapping[int, Question]) -> str:
    from keruta_agent.cli.input import shown

    question = asked.get(job.id)
    return job.message if question is None else printable(shown(question))


def _state(job: Job, asked: Mapping[int, Question]) -> str:
    return "waiting for input" if job.id in asked else job.shown_state


def _job(job: Job, asked: Mapping[int, Question]) -> dict[str, Any]:
    from keruta_agent.agent.control.serialize import job_to_json

    question = asked.get(job.id)
    return {**job_to_json(job), "question": None if question is None else question.prompt}


def _run(records: Records, run: Run) -> dict[str, Any]:
    from keruta_agent.agent.control.serialize import run_to_json

    used = usage.as_json(records, run.id)
    here = {"directory": run.directory, "shim_pid": run.shim_pid, "usage": used}
    return run_to_json(run) | here
