"""An agent with real records and real processes, and with doubles for the world around it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from keruta_agent.agent.daemon.wiring import build_agent
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.settings.sources import load_settings

#: The session that agents of tests serve.
SESSION = "11111111-2222-3333-4444-555555555555"


class RecordingQueue:
    """A dispatcher that dispatches nothing and remembers its calls."""

    def __init__(self) -> None:
        self.runnable: list[int] = []
        self.failed: list[int] = []
        self.flushes = 0
        self.polls = 0

    def job_runnable(self, job_id: int) -> None:
        self.runnable.append(job_id)

    def job_failed(self, job_id: int) -> None:
        self.failed.append(job_id)

    def outbox_filled(self) -> None:
        self.flushes += 1

    def poll_now(self) -> None:
        self.polls += 1


def settings_in(directory: Path, **flags: object) -> Settings:
    """Return settings whose every path is in a directory."""
    environment = {
        "HOME": str(directory),
        "KERUTA_BASE_DIR": str(directory / "base"),
        "KERUTA_ARTIFACTS_DIR": str(directory / "artifacts"),
        "KERUTA_STOP_GRACE": "1s",
        "KERUTA_RETRY_COUNT": "0",
    }
    return load_settings(flags, environment).settings


@contextlib.contextmanager
def agent_in(directory: Path, api: KerutaApi | None = None, **flags: object) -> Iterator[Agent]:
    """Build an agent in a directory."""
    agent = build_agent(settings_in(directory, **flags), RecordingQueue(), api)
    try:
        yield agent
    finally:
        agent.launcher.close()
        agent.records.database.close()
