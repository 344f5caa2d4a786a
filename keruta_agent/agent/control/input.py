"""Handlers of the commands that give something to the script that runs."""

from __future__ import annotations

import base64

from keruta_agent.agent.control.commands import Answered, AnswerInput, Fed, FeedInput
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.journey.input import answer


def answer_input(control: Control, command: AnswerInput) -> Answered:
    """Answer the open question of a job.

    Raises:
        NotFound: there is no such job.
        NothingAsked: it waits for no answer, or for another one by now.
        InputRefused: nothing of the script reads it.
    """
    question = answer.give(
        control.running, command.job, command.text, command.source, number=command.number
    )
    return Answered(question=question.number)


def feed_input(control: Control, command: FeedInput) -> Fed:
    """Pass a client's standard input to a job.

    Raises:
        NotFound: there is no such job.
        NothingAsked: it does not run.
        InputRefused: nothing of the script reads it.
    """
    data = base64.b64decode(command.data)
    taken = answer.feed(control.running, command.job, data, ends=command.ends, source="terminal")
    return Fed(taken=taken)
