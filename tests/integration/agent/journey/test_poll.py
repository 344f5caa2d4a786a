"""What people change at the API, the agent follows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.journey import pausing
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in


@pytest.fixture
def agent(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    with agent_in(tmp_path, api, session_id=SESSION) as built:
        yield built


def _set_priority(api: InMemoryKerutaApi, task_id: str, priority: int) -> None:
    api.tasks[task_id] = dataclasses.replace(api.tasks[task_id], priority=priority)


def _set_status(api: InMemoryKerutaApi, status: str) -> None:
    api.sessions[SESSION] = dataclasses.replace(api.sessions[SESSION], status=status)


def _names(agent: Agent) -> list[str]:
    jobs = [agent.records.jobs.get(job_id) for job_id in agent.records.jobs.waiting_ids()]
    return [job.name for job in jobs if job is not None]


def test_waiting_job_follows_the_priority_at_the_api(agent: Agent, api: InMemoryKerutaApi) -> None:
    poll = SessionPoll(agent, api)
    _, second = (api.add_task(SESSION, "true", name=name) for name in ("first", "second"))
    poll.poll()
    _set_priority(api, second.id, 1)
    poll.poll()
    assert _names(agent) == ["second", "first"]


def test_move_by_a_person_here_stands_until_the_api_says_something_new(
    agent: Agent, api: InMemoryKerutaApi
) -> None:
    poll = SessionPoll(agent, api)
    first, second = (api.add_task(SESSION, "true", name=name) for name in ("first", "second"))
    poll.poll()
    job = agent.records.jobs.by_task(second.id)
    assert job is not None
    agent.records.jobs.set_priority(job.id, 5)
    poll.poll()
    assert _names(agent) == ["second", "first"]
    _set_priority(api, first.id, 9)
    poll.poll()
    assert _names(agent) == ["first", "second"]


def test_paused_session_pauses_the_queue_until_it_is_active(
    agent: Agent, api: InMemoryKerutaApi
) -> None:
    poll = SessionPoll(agent, api)
    api.add_task(SESSION, "true")
    _set_status(api, "PAUSED")
    poll.poll()
    assert agent.records.jobs.pause_reason() == pausing.REASON
    assert agent.records.runs.claim_next() is None
    _set_status(api, "ACTIVE")
    poll.poll()
    assert agent.records.jobs.pause_reason() is None
    assert agent.records.runs.claim_next() is not None


@pytest.mark.parametrize("status", ["INACTIVE", "PENDING", "SOMETHING_NEW"])
def test_session_in_a_state_of_another_server_is_worked_for(
    agent: Agent, api: InMemoryKerutaApi, status: str
) -> None:
    api.add_task(SESSION, "true")
    _set_status(api, status)
    SessionPoll(agent, api).poll()
    assert agent.records.runs.claim_next() is not None


def test_pause_by_a_person_here_outlasts_that_of_the_session(
    agent: Agent, api: InMemoryKerutaApi
) -> None:
    poll = SessionPoll(agent, api)
    agent.records.jobs.pause("lunch")
    for status in ("PAUSED", "ACTIVE"):
        _set_status(api, status)
        poll.poll()
        assert agent.records.jobs.pause_reason() == "lunch"
