"""A dispatcher over an agent of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.daemon.wiring import build_agent
from keruta_agent.agent.journey import recover
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.queue.dispatcher import Dispatcher
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, settings_in


class Running:
    def __init__(self, directory: Path, api: InMemoryKerutaApi, poll_interval_s: float) -> None:
        settings = settings_in(directory, session_id=SESSION)
        self.dispatcher = Dispatcher(settings.base_dir, poll_interval_s)
        self.agent: Agent = build_agent(settings, self.dispatcher, api)
        self.poll = SessionPoll(self.agent, api)

    def start(self) -> None:
        recover.reconcile(self.agent)
        self.dispatcher.start(self.agent, self.poll)

    def stop(self) -> None:
        self.dispatcher.stop(30)
        self.agent.records.database.close()

    def is_done(self) -> bool:
        return not self.agent.records.jobs.has_open()


@pytest.fixture
def make(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def build(poll_interval_s: float = 3600, api: InMemoryKerutaApi = api) -> Running:
        (tmp_path / "base").mkdir(mode=0o700, exist_ok=True)
        made.append(Running(tmp_path, api, poll_interval_s))
        return made[-1]

    yield build
    for running in made:
        running.stop()
