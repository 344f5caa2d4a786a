"""``keruta explain``: the story of a job in plain words."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli import completion
from keruta_agent.cli.jobs import open_job
from keruta_agent.cli.options import json_option, load, print_json
from keruta_agent.cli.tables import duration, local_time, printable

if TYPE_CHECKING:
    from keruta_agent.agent.store.jobs import Job
    from keruta_agent.agent.store.journal import Event
    from keruta_agent.agent.store.store import Records
    from keruta_agent.core.settings.schema import Settings

_Detail = Mapping[str, Any]

#: Who answers what a script asks.
ANSWERERS: Final[Mapping[str, str]] = {
    "api": "the keruta API",
    "command": "keruta input",
    "terminal": "keruta execute, from its own input",
    "http": "the daemon's HTTP API",
}

#: Each action of the journal as a sentence.
SENTENCES: Final[Mapping[str, Callable[[_Detail], str]]] = {
    "recorded": lambda d: f"The agent took note of it, with priority {d['priority']}.",
    "moved": lambda d: f"Somebody gave it priority {d['priority']}.",
    "left_alone": lambda d: f"It was not run here: {d['reason']}.",
    "revived": lambda d: "It waits at the API again, and nobody has it: it waits here too.",
    "claimed": lambda d: "Its turn came.",
    "started": lambda d: f"Process {d['pid']} began to start the script and look after it.",
    "taken_up": lambda d: "An agent went on with it after the one before had ended.",
    "agent_failed": lambda d: f"The agent itself failed at it: {d['reason']}.",
    "stop_asked": lambda d: f"It is to stop ({_words(d['kind'])}): {d['reason']}.",
    "stopping": lambda d: f"The agent asked process {d['pid']} to stop the script.",
    "unheeded": lambda d: (
        f"Process {d['pid']} did not stop the script in time: the agent killed them all."
    ),
    "swept": lambda d: (
        "Who looked after the script was gone; the agent ended what was left: "
        f"{_processes(d['pids'])}."
    ),
    "workspace": lambda d: f"It works in {d['directory']} on the branch {d['branch']}.",
    "ended": lambda d: f"The run ended: {_words(d['outcome'])}. {d['message']}".rstrip(),
    "retry": lambda d: f"It is tried again after {d['wait_s']} s; {_retries(d['left'])} left.",
    "retry_rule_wrong": lambda d: f"Its retry rule is invalid: {d['reason']}.",
    "input_requested": lambda d: f"It began to wait for an answer to {d['prompt']!r}.",
    "input_answered": lambda d: (
        f"It waited {_span(d['waited_s'])} for an answer to {d['prompt']!r}; it was answered by "
        f"{ANSWERERS.get(d['by'], d['by'])}."
    ),
    "input_unanswered": lambda d: (
        f"It waited {_span(d['waited_s'])} for an answer to {d['prompt']!r}, in vain: {d['why']}."
    ),
    "auto_fix": lambda d: "The API is asked for a task that fixes it.",
    "no_auto_fix": lambda d: f"No task is asked for that would fix it: {d['reason']}.",
    "api_failed": lambda d: f"Its {d['kind']} did not reach the API: {d['error']}.",
    "api_refused": lambda d: f"The API refused its {d['kind']}: {d['error']}.",
    "unsendable": lambda d: f"Its {d['kind']} cannot be sent any more: {d['error']}.",
    "parked": lambda d: f"It was set aside: {d['reason']}.",
    "found": lambda d: "It was found in a run directory that the records did not know.",
}


@click.command()
@click.argument("job", shell_complete=completion.jobs)
@json_option
@click.pass_context
def explain(ctx: click.Context, job: str, as_json: bool) -> None:
    """Tell what happened to a job, and why: JOB is its number, or the id of its task.

    \b
    Examples:
      keruta explain 12
      keruta explain --json 29229ea1-8c41-4ca2-b064-7a7a7672dd1a
    """
    settings = load(ctx).settings
    records, found = open_job(settings, job)
    events = records.journal.of_job(found.id)
    if as_json:
        from keruta_agent.agent.control.serialize import event_to_json

        print_json([event_to_json(found, event) for event in events])
        return
    click.echo(f"{printable(f'Job {found.id}, {found.name}')}\n")
    signals = _signals(settings, records, found)
    for event in events:
        # By its place and not by its time: the clock may have been set in between.
        if event.action == "ended":
            _print_lines(*signals.pop(event.run_number, []))
        run = f"run {event.run_number}  " if event.run_number is not None else ""
        _print_lines(f"{local_time(event.at)}  {run}{_sentence(event)}")
    for lines in signals.values():
        _print_lines(*lines)
    click.echo(f"\n{_now(records, found)}")


def _print_lines(*lines: str) -> None:
    for line in lines:
        click.echo(printable(line))


def _words(kind: object) -> str:
    """Return the name of an end as people write it."""
    return str(kind).replace("_", " ")


def _retries(left: int) -> str:
    return "1 retry is" if left == 1 else f"{left} retries are"


def _processes(pids: Sequence[int]) -> str:
    return f"process{'es' if len(pids) > 1 else ''} {', '.join(map(str, pids))}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"Signal {number}"


def _span(seconds: object) -> str:
    return duration(seconds) if isinstance(seconds, int | float) else str(seconds)


def _sentence(event: Event) -> str:
    sentence = SENTENCES.get(event.action)
    return event.action if sentence is None else sentence(event.detail)


def _signals(settings: Settings, records: Records, job: Job) -> dict[int | None, list[str]]:
    """Return which signals went to which processes, by the numbers of the runs.

    The shims note it in the run directories.
    """
    from keruta_agent.agent.run.directory import RUNS_DIRECTORY, RunDirectory

    lines: dict[int | None, list[str]] = {}
    for run in records.runs.of_job(job.id):
        directory = RunDirectory(settings.base_dir / RUNS_DIRECTORY / run.directory)
        lines[run.number] = [
            f"{local_time(at)}  run {run.number}  {_signal(number)} was sent to process"
            f"{'es' if ',' in pids else ''} {pids.replace(',', ', ')}."
            for at, number, pids in directory.read_signals()
        ]
    return lines


def _now(records: Records, job: Job) -> str:
    """Return the state of the job and what it waits for."""
    from keruta_agent.agent.store.jobs import JobState

    if job.state is JobState.FINISHED:
        unsent = records.outbox.unsent(job.task_id) if job.task_id else 0
        rest = f" {unsent} messages of it have yet to reach the API." if unsent else ""
        return f"It has ended: {_words(job.outcome)}.{rest}"
    if job.state is JobState.RUNNING:
        question = records.questions.open_of_job(job.id)
        if question is not None:
            return f"It waits for an answer to {question.prompt!r}: keruta input {job.id}"
        return "It is running."
    if job.state is JobState.SCHEDULED:
        left = records.jobs.seconds_to_next()
        return f"It waits for its next try, due in {duration(left or 0.0)}."
    if job.state is JobState.FAILING:
        return "It failed, and what follows is being decided."
    return f"It waits: {_what_for(records, job)}."


def _what_for(records: Records, job: Job) -> str:
    paused = records.jobs.pause_reason()
    if paused is not None:
        return f"the queue is paused ({paused})"
    active = records.runs.active()
    ahead = records.jobs.ahead_of(job)
    others = "one other comes" if ahead == 1 else f"{ahead} others come"
    before = f", and {others} before it" if ahead else ""
    if active is None:
        return f"no daemon has taken it yet{before}"
    return f"job {active[0].id} is running, and one runs at a time{before}"
