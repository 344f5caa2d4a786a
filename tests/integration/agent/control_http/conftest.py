from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Work
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agent_http import AgentCaller, agent_application
from tests.helpers.agents import agent_in


@pytest.fixture
def agent(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    with agent_in(tmp_path, api, daemon_allowed_hosts="agent.example, Other.example") as agent:
        yield agent


@pytest.fixture
def http(agent: Agent) -> Iterator[AgentCaller]:
    with agent_application(agent) as app:
        yield AgentCaller(app)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentCaller]:
    """The API of an agent with one job, for tests in which nothing is done."""
    names = "agent.example, Other.example"
    with agent_in(tmp_path_factory.mktemp("refusing"), daemon_allowed_hosts=names) as agent:
        agent.records.jobs.record_script("the only one", Work(script="true"))
        with agent_application(agent) as app:
            yield AgentCaller(app)
        assert len(agent.records.jobs.listing()) == 1
