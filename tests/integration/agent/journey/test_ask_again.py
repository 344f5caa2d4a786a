"""An agent that takes over knows whether a script still waits for what was asked before."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from keruta_agent.agent.journey import execute, prepare
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.input import ask
from keruta_agent.agent.run import processes
from keruta_agent.agent.run.directory import ProcessId
from keruta_agent.agent.store.jobs import Work
from keruta_agent.agent.store.questions import Question, QuestionState
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="waits are seen there only"
)

Started = tuple[RunContext, ProcessId]


@pytest.fixture
def started(agent: Agent) -> Iterator[Started]:
    """A script that asks the same twice, which nobody follows."""
    text = "for n in 1 2; do printf 'again? '; read -r x; echo $x; done"
    agent.records.jobs.record_script("asks", Work(script=text))
    claimed = agent.records.runs.claim_next()
    assert claimed is not None
    ctx = RunContext(agent, *claimed)
    shim = execute.start(ctx, prepare.plan(ctx, prepare.read_script(ctx)))
    yield ctx, shim
    processes.kill_tree(shim, ctx.run.uid)


@pytest.fixture
def look(
    agent: Agent, started: Started
) -> Callable[[ask.Asker, Callable[[Question | None], bool]], Question | None]:
    """Have one agent look until its records hold the wanted question."""

    def until(asker: ask.Asker, wanted: Callable[[Question | None], bool]) -> Question | None:
        def found() -> bool:
            asker.look()
            return wanted(agent.records.questions.current(started[0].run.id))

        wait_until(found, "the question is as wanted")
        return agent.records.questions.current(started[0].run.id)

    return until


def test_question_that_still_waits_is_not_asked_again(agent, started, look):
    first = look(ask.Asker(*started), lambda found: found is not None)

    second = ask.Asker(*started)
    until = time.monotonic() + ask.GONE_S * 1.5  # long enough to see it, or to miss it
    look(second, lambda found: time.monotonic() >= until)

    assert agent.records.questions.current(started[0].run.id) == first
    asked = [
        event for event in agent.records.journal.of_job(1) if event.action == "input_requested"
    ]
    assert len(asked) == 1


def test_answer_that_nobody_noted_ends_the_question_even_when_the_next_is_alike(
    agent, started, look
):
    first = look(ask.Asker(*started), lambda found: found is not None)
    # Killed between the answer and its note.
    started[0].directory.answer("one")

    second = look(ask.Asker(*started), lambda found: found is not None and found.number == 2)

    assert second.prompt == first.prompt
    assert agent.records.questions.get(started[0].run.id, 1).state is QuestionState.CLOSED
    assert (started[0].directory.path / "stdout").read_text() == "again? one\nagain? "


def test_answer_that_was_noted_is_the_end_of_its_question(agent, started, look):
    first = look(ask.Asker(*started), lambda found: found is not None)
    started[0].directory.answer("one")
    agent.records.questions.answered(started[0].job, started[0].run, first, "command")

    second = look(ask.Asker(*started), lambda found: found is not None and found.number == 2)

    assert second.state is QuestionState.OPEN
    assert agent.records.questions.get(started[0].run.id, 1).answered_by == "command"
