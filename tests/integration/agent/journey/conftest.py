from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.core.model import Task
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in
from tests.helpers.repositories import Repository, make_repository
from tests.helpers.workspace_world import World


@pytest.fixture
def agent(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    with agent_in(tmp_path, api, session_id=SESSION, auto_fix="false") as agent:
        yield agent


@pytest.fixture
def poll(agent: Agent, api: InMemoryKerutaApi) -> SessionPoll:
    return SessionPoll(agent, api)


@pytest.fixture
def file_task(api: InMemoryKerutaApi) -> Callable[..., Task]:
    def file(script: str, **fields: object) -> Task:
        return api.add_task(SESSION, script, **fields)

    return file


def deliver(agent: Agent) -> None:
    """Deliver everything that can be delivered now."""
    assert agent.outbox_sender is not None
    agent.outbox_sender.deliver(30)


@pytest.fixture
def run_all(agent: Agent, poll: SessionPoll) -> Callable[[], None]:
    """Return what takes the session's tasks and brings each to its end, as the daemon would."""

    def take_and_run() -> None:
        poll.poll()
        while run.run_next(agent) is not None:
            pass
        deliver(agent)

    return take_and_run


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("KERUTA_", "CODER_")):
            monkeypatch.delenv(name)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "project.git")


@pytest.fixture
def world(tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> World:
    """An agent and a repository, with nobody's configuration of git."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        if not name.startswith("GIT_CONFIG"):
            monkeypatch.delenv(name)
    return World(tmp_path, repository)


def let_time_pass(agent: Agent) -> None:
    """End the waits before claims that failed."""
    agent.ownership._claims_from = 0.0
    agent.records.database.connection().execute(
        "UPDATE jobs SET not_before = 0 WHERE state = 'scheduled'"
    )
    agent.records.jobs.wake_due()
