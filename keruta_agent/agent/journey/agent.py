"""What every stage of the journey works with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from keruta_agent.agent.delivery.outbox_sender import OutboxSender
from keruta_agent.agent.delivery.redaction import Redaction
from keruta_agent.agent.delivery.writes import WriteCheck
from keruta_agent.agent.journey.artifacts.directory import ArtifactsDirectories
from keruta_agent.agent.journey.input.prompt_lock import PromptLock
from keruta_agent.agent.journey.session.ownership import Ownership
from keruta_agent.agent.journey.stops import Stops
from keruta_agent.agent.ports import KerutaApi, WorkQueue
from keruta_agent.agent.run.directory import RUNS_DIRECTORY, RunDirectory
from keruta_agent.agent.run.follower import WakeEvent
from keruta_agent.agent.run.launch import Launcher
from keruta_agent.agent.store.disk import Disk
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.store import Records
from keruta_agent.core.settings.schema import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent: its settings, its records, and what it works with."""

    settings: Settings
    records: Records
    #: Where its scripts leave artifacts.
    artifacts_directories: ArtifactsDirectories
    #: Whether the session's tasks are this agent's to run.
    ownership: Ownership
    #: None when no API is configured: ad-hoc scripts need none.
    api: KerutaApi | None
    #: Delivers the outbox to the API; None without one.
    outbox_sender: OutboxSender | None
    #: Masks the secrets in what a run wrote.
    redaction: Redaction
    queue: WorkQueue
    #: The disk of the base directory: whether it can be written.
    disk: Disk
    #: Requests to stop jobs, also while the disk is full.
    stops: Stops
    #: Where the questions of the script that runs are answered.
    prompt_lock: PromptLock
    #: Set when a script sent the agent a message, so that it is read now.
    wake_event: WakeEvent
    #: Starts scripts.
    launcher: Launcher
    #: Whether the API takes writes.
    writes: WriteCheck
    #: Path of the unix socket that scripts speak to.
    socket_path: Path
    #: Directory with the ``keruta`` that scripts find first on their PATH.
    command_dir: Path

    def directory_of(self, run: Run) -> RunDirectory:
        """Return the directory of a run."""
        return RunDirectory(self.settings.base_dir / RUNS_DIRECTORY / run.directory)
