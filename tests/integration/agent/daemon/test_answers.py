"""Fetching answers from the API: only what belongs to the question that is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.daemon import answers
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.input import answer
from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.run import Run
from keruta_agent.core import errors
from keruta_agent.core.model import Task
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in
from tests.helpers.waiting import wait_until


@pytest.fixture
def agent(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    flags = {"session_id": SESSION, "http_input": "true", "poll_interval_s": "100ms"}
    with agent_in(tmp_path, api, **flags) as agent:
        yield agent


@pytest.fixture
def task(api: InMemoryKerutaApi) -> Task:
    return api.add_task(SESSION, "read x")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, int]]:
    """What was given to scripts: job, text, question."""
    found: list[tuple[int, str, int]] = []

    def give(agent: Agent, job_id: int, text: str, source: str, *, number: int) -> None:
        assert source == "api"
        found.append((job_id, text, number))
        with agent.prompt_lock.lock:
            active = agent.records.runs.active()
            question = None if active is None else agent.records.questions.current(active[1].id)
            if active is None or question is None or question.number != number:
                raise errors.NothingAsked("nobody waits")
            agent.records.questions.answered(*active, question, source)

    monkeypatch.setattr(answer, "give", give)
    return found


@pytest.fixture
def ask(agent: Agent, task: Task) -> Callable[[], tuple[Job, Run]]:
    """Return what makes the script of the task ask, and reports that to the API."""
    agent.records.jobs.record_task(task)
    job, run = agent.records.runs.claim_next()

    def once() -> tuple[Job, Run]:
        with agent.prompt_lock.lock:
            before = agent.records.questions.current(run.id)
            if before is not None:
                agent.records.questions.close(job, run, before, "the script went on without it")
            agent.records.questions.ask(job, run, prompt="again?", secret=False, pid=1, sleeps=1)
        agent.outbox_sender.deliver(30)
        agent.prompt_lock.changed.set()
        return job, run

    return once


@pytest.fixture
def poll(agent: Agent) -> Iterator[answers.AnswerPoll]:
    started = answers.answer_poll(agent)
    assert started is not None
    started.start()
    yield started
    started.stop()
    started.join(10)


def look_now(agent: Agent, times: int) -> None:
    """Make the thread look this often."""
    for _ in range(times):
        agent.prompt_lock.changed.set()
        wait_until(lambda: not agent.prompt_lock.changed.is_set(), "the thread looks")


def test_answer_is_fetched_and_given_once(agent, api, task, ask, given, poll):
    ask()
    wait_until(lambda: api.calls.count("poll_input") > 1, "it is asked for again and again")
    api.answer_input(task.id, "yes")
    wait_until(lambda: given, "the answer is given")
    calls = api.calls.count("poll_input")
    ask()
    wait_until(lambda: api.calls.count("poll_input") > calls + 1, "the next one is asked for")
    assert given == [(1, "yes\n", 1)]


def test_nothing_is_asked_for_while_no_script_asks_or_the_api_does_not_know(
    agent, api, task, ask, given, poll
):
    api.fail_next("write_status", errors.ApiUnreachable("away"), times=2)
    ask()
    wait_until(lambda: "write_status" in api.calls, "the question was to be sent")
    # What the API has is the answer to something else: it knows of no question.
    api.answer_input(task.id, "stale")
    look_now(agent, times=3)
    assert "poll_input" not in api.calls
    assert given == []


def test_server_that_cannot_answer_is_asked_once_a_question(agent, api, task, ask, given, poll):
    api.fail_next("poll_input", errors.ApiUnsupported("no such route"))
    ask()
    wait_until(lambda: "poll_input" in api.calls, "it is asked")
    api.answer_input(task.id, "unheard")
    look_now(agent, times=3)
    assert api.calls.count("poll_input") == 1
    assert given == []


def test_answer_that_comes_too_late_is_not_given_to_the_next_question(
    agent, api, task, ask, given, poll
):
    ask()
    api.answer_input(task.id, "first")
    ask()
    wait_until(lambda: api.calls.count("poll_input") > 2, "the second one is asked for")
    assert (1, "first\n", 2) not in given


def test_without_the_setting_the_api_is_not_asked(tmp_path: Path, api: InMemoryKerutaApi) -> None:
    with agent_in(tmp_path, api, session_id=SESSION) as agent:
        assert answers.answer_poll(agent) is None
