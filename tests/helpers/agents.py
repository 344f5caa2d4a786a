"""An agent with real records and real processes, and with doubles for the world around it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from keruta_agent.agent.daemon.wiring import build_agent
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.sqlite.database import DATABASE_NAME, Database
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.settings.sources import load_settings

#: The session that agents of tests serve.
SESSION = "11111111-2222-3333-4444-555555555555"


class RecordingQueue:
    """A dispatcher that dispatches nothing and remembers its calls."""

    def __init__(self) -> None:
        self.wakes = 0
        self.failed: list[int] = []
        self.flushes = 0
        self.polls = 0

    def jobs_runnable(self) -> None:
        self.wakes += 1

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
    settings = settings_in(directory, **flags)
    _write_database(settings.base_dir)
    agent = build_agent(settings, RecordingQueue(), api)
    try:
        yield agent
    finally:
        agent.launcher.close()
        agent.records.database.close()


def _write_database(base_dir: Path) -> None:
    """Write an empty database where nothing is yet: to migrate one takes most of a start."""
    if base_dir.exists():
        return
    base_dir.mkdir(mode=0o700, parents=True)
    database = base_dir / DATABASE_NAME
    database.touch(mode=0o600)
    database.write_bytes(_empty_database())


@cache
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        Database(Path(directory)).close()
        return (Path(directory) / DATABASE_NAME).read_bytes()
