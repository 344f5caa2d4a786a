"""``keruta input``: what scripts ask, and the answers to it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from keruta_agent.cli import completion
from keruta_agent.cli.jobs import open_existing, open_job
from keruta_agent.cli.options import json_option, load, print_json
from keruta_agent.cli.tables import ago, print_table, printable
from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.agent.store.questions import Question
    from keruta_agent.core.settings.schema import Settings

#: Where an answer is read from standard input to its end, not just a line.
ALL_OF_STDIN: Final = "-"


@click.command("input")
@click.argument("job", required=False, shell_complete=completion.jobs)
@click.argument("text", required=False)
@json_option
@click.pass_context
def answer_input(ctx: click.Context, job: str | None, text: str | None, as_json: bool) -> None:
    """Answer what a script asks: JOB is its number, or the id of its task.

    Without TEXT the answer is asked for here, or read as one line from standard input; - reads
    all of that. Without JOB the open question is shown. A secret is never taken from the command
    line, where other users see it, and is kept nowhere.

    \b
    Examples:
      keruta input
      keruta input 12 Alice
      pass show deploy | keruta input 12
    """
    settings = load(ctx).settings
    if job is None:
        _show_open(settings, as_json=as_json)
        return
    from keruta_agent.agent.control.commands import AnswerInput
    from keruta_agent.agent.control.socket import client

    records, found = open_job(settings, job)
    question = records.questions.open_of_job(found.id)
    if question is None:
        raise errors.NothingAsked(f"job {found.id} waits for no answer now")
    answer = _answer(found.id, question, text)
    command = AnswerInput(job=found.id, text=answer, number=question.number)
    client.ask(settings.base_dir, command)
    if as_json:
        print_json({"job": found.id, "number": question.number})
        return
    click.echo(f"job {found.id} has its answer")


def _show_open(settings: Settings, *, as_json: bool) -> None:
    records = open_existing(settings)
    asked = [] if records is None else records.questions.open_ones()
    if as_json:
        from keruta_agent.agent.control.serialize import question_to_json

        print_json([question_to_json(one) for one in asked])
        return
    if not asked:
        click.echo("No script waits for an answer.")
        return
    now = time.time()
    print_table(
        ("JOB", "WAITS", "TASK", "NAME", "QUESTION"),
        [
            (
                str(one.job_id),
                ago(one.question.asked_at, now),
                (one.task_id or "-")[:13],
                one.job_name[:40],
                shown(one.question),
            )
            for one in asked
        ],
    )
    click.echo(f"\nAnswer it with: keruta input {asked[0].job_id}")


def shown(question: Question) -> str:
    """Return what a script asks, on one line."""
    from keruta_agent.agent.store.questions import NO_PROMPT

    return (question.prompt or NO_PROMPT) + (" [secret]" if question.secret else "")


def _answer(job_id: int, question: Question, text: str | None) -> str:
    """Return the answer, from wherever the person gives it.

    Raises:
        UsageError: there is none, or a secret stands on the command line.
    """
    if text is not None and text != ALL_OF_STDIN:
        if question.secret:
            raise errors.UsageError(
                f"job {job_id} asks for a secret, which other users see on a command line",
                advice=f"Call keruta input {job_id} without it, or pipe it in",
            )
        return text
    if text == ALL_OF_STDIN:
        given = sys.stdin.buffer.read()
    elif question.secret and sys.stdin.isatty():
        return _ask_for_secret(question)
    else:
        if sys.stdin.isatty():
            click.echo(f"{_prompt(question)} ", nl=False, err=True)
        given = sys.stdin.buffer.readline()
    if not given:
        raise errors.UsageError("no answer was given", advice="Give it as TEXT, or pipe it in")
    return given.decode("utf-8", "surrogateescape")


def _ask_for_secret(question: Question) -> str:
    import getpass

    try:
        return getpass.getpass(f"{_prompt(question)} ")
    except EOFError:
        raise errors.UsageError("no answer was given") from None


def _prompt(question: Question) -> str:
    return printable(question.prompt) or "Answer:"
