"""Collects the artifacts that a run left in the artifacts directory.

The directory is shared by the tasks of a workspace, so a run's artifacts are the files that are
new or changed since it started. They are copied into the run directory: what is sent later, after
an outage, is what this run made, not what the next one wrote over it.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Final

from keruta_agent.journey import artifacts
from keruta_agent.journey.agent import Agent
from keruta_agent.model import ArtifactFile
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Run
from keruta_agent.runs.directory import RunDirectory
from keruta_agent.runs.files import open_regular

logger = logging.getLogger(__name__)

COPIES: Final = "artifacts"
BEFORE: Final = "artifacts-before.json"


def prepare_directory(agent: Agent, working_directory: Path) -> Path:
    """Returns the artifacts directory, made if need be.

    The spec's ``/.keruta/doc`` when it can be written, else the same below the working directory.
    """
    configured = agent.settings.artifacts_dir
    for candidate in (configured, working_directory / ".keruta" / "doc"):
        try:
            candidate.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    return configured


def remember_before(directory: RunDirectory, artifacts_dir: Path) -> None:
    """Notes what is in the artifacts directory before the script starts."""
    before = {
        name: artifacts.fingerprint(path) for name, path in artifacts.files_below(artifacts_dir)
    }
    note = {"directory": str(artifacts_dir), "files": before}
    (directory.path / BEFORE).write_text(json.dumps(note), encoding="utf-8")


def _note(directory: RunDirectory) -> str:
    try:
        with os.fdopen(open_regular(directory.path / BEFORE), "rb") as file:
            return file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def copy_artifacts(agent: Agent, job: Job, run: Run) -> list[ArtifactFile]:
    """Copies what the run made and returns the copies; what cannot be taken is logged."""
    directory = agent.directory_of(run)
    try:
        note = json.loads(_note(directory))
        listed, before = Path(note["directory"]), dict(note["files"])
    except (ValueError, TypeError, KeyError):  # the run never came so far, or spoilt it
        return []
    artifacts_dir = Path(agent.runs.get(run.id).artifacts_dir or listed)
    if artifacts_dir != listed:
        before = {}
    copies = []
    for name, path in artifacts.wanted_files(agent.settings, artifacts_dir):
        if before.get(name) != artifacts.fingerprint(path):
            try:
                copies.append(artifacts.copy_of(path, name, directory.path / COPIES))
            except OSError as exc:
                logger.error(
                    "cannot take the artifact %s: %s",
                    path,
                    exc.strerror,
                    extra={"action": "artifact_unreadable", "job": job.id, "task": job.task_id},
                )
    return copies
