"""Which of the server's events make the agent poll: what others did, and no echo of itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.daemon.events import EventListener, event_listener
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.core.model import StatusReport, TaskStatus
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, RecordingQueue, agent_in
from tests.helpers.waiting import wait_until


@pytest.fixture
def agent(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    with agent_in(tmp_path, api, session_id=SESSION) as built:
        yield built


@pytest.fixture
def listener(agent: Agent, api: InMemoryKerutaApi) -> Iterator[EventListener]:
    poll = SessionPoll(agent, api)
    poll.resolve()
    started = event_listener(agent, poll)
    assert started is not None
    started.start()
    wait_until(lambda: _polls(agent) == 1, "the stream is open")
    yield started
    started.stop()


def _polls(agent: Agent) -> int:
    assert isinstance(agent.queue, RecordingQueue)
    return agent.queue.polls


def _write(api: InMemoryKerutaApi, task_id: str, status: TaskStatus) -> None:
    api.write_status(task_id, StatusReport(status=status), key=f"{task_id}-{status}")


def _run(agent: Agent, api: InMemoryKerutaApi, task_id: str) -> None:
    """Record a task and claim its job."""
    SessionPoll(agent, api).poll()
    claimed = agent.records.runs.claim_next()
    assert claimed is not None
    assert claimed[0].task_id == task_id


def test_what_the_agent_reports_itself_asks_for_no_poll(
    agent: Agent, api: InMemoryKerutaApi, listener: EventListener
) -> None:
    task = api.add_task(SESSION, "true")
    wait_until(lambda: _polls(agent) == 2, "the new task asks for a poll")
    _write(api, task.id, TaskStatus.PROCESSING)
    _write(api, task.id, TaskStatus.COMPLETED)
    api.add_task(SESSION, "true")
    wait_until(lambda: _polls(agent) == 3, "only the second new task asks for another one")


@pytest.mark.parametrize("status", [TaskStatus.CANCELLED, TaskStatus.COMPLETED, TaskStatus.FAILED])
def test_running_task_that_somebody_ended_asks_for_a_poll(
    agent: Agent, api: InMemoryKerutaApi, listener: EventListener, status: TaskStatus
) -> None:
    task = api.add_task(SESSION, "true")
    wait_until(lambda: _polls(agent) == 2, "the new task asks for a poll")
    _run(agent, api, task.id)
    _write(api, task.id, TaskStatus.PROCESSING)
    _write(api, task.id, status)
    wait_until(lambda: _polls(agent) == 3, "the end asks for a poll")


@pytest.mark.parametrize("data", [{}, {"status": None}, {"status": ["COMPLETED"]}, {"status": "X"}])
def test_update_that_does_not_tell_its_state_asks_for_a_poll(
    agent: Agent, api: InMemoryKerutaApi, listener: EventListener, data: dict[str, object]
) -> None:
    with api.lock:
        api._publish(SESSION, "task_update", data)
    wait_until(lambda: _polls(agent) == 2, "the update asks for a poll")
