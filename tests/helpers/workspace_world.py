"""An agent, the session that it serves, and the repository that the session names."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.core.model import Task
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in
from tests.helpers.repositories import Repository

TASK = "6f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10"
OTHER_TASK = "7f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10"
BRANCH = "keruta-task-11111111-6f0c1c1e"


class World:
    """One agent and the session that it serves."""

    def __init__(self, directory: Path, repository: Repository) -> None:
        self.directory = directory
        self.repository = repository
        self.api = InMemoryKerutaApi()
        self.flags: dict[str, object] = {"session_id": SESSION, "auto_fix": "false"}
        self.api.add_session(SESSION, repository_url=str(repository.path))

    @property
    def workspace(self) -> Path:
        return self.directory / "base" / "project"

    def set_ref(self, ref: str) -> None:
        session = self.api.sessions[SESSION]
        self.api.sessions[SESSION] = dataclasses.replace(session, repository_ref=ref)

    def run(self, script: str, *, task_id: str = TASK, **fields: object) -> Task:
        """Run a task to its end and return it."""
        task = self.api.add_task(SESSION, script, id=task_id, **fields)
        with agent_in(self.directory, self.api, **self.flags) as agent:
            take_and_run(agent, self.api)
        return self.api.task(task.id)

    def output(self, task_id: str = TASK) -> str:
        """What scripts and hooks wrote, without the marks around the hooks' output."""
        lines = self.api.log_text(task_id, "stdout").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("::"))

    def log(self, task_id: str = TASK) -> str:
        return self.api.log_text(task_id, "agent")


def take_and_run(agent: Agent, api: InMemoryKerutaApi) -> None:
    """Take the session's tasks and brings each to its end, as the daemon would."""
    SessionPoll(agent, api).poll()
    while run.run_next(agent) is not None:
        pass
    assert agent.outbox_sender is not None
    agent.outbox_sender.deliver(30)
