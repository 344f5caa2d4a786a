"""Collects the artifacts that a run left in the artifacts directory.

The directory is shared by the tasks of a workspace, so a run's artifacts are the files that are
new or changed since it started. They are copied into the run directory: what is sent later, after
an outage, is what this run made, not what the next one wrote over it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import mimetypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.journey.agent import Agent
from keruta_agent.model import ArtifactFile
from keruta_agent.records.jobs import Job
from keruta_agent.records.runs import Run
from keruta_agent.runs.directory import RunDirectory
from keruta_agent.settings.schema import Settings
from keruta_agent.settings.units import format_size

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
    before = {name: _fingerprint(path) for name, path in _files(artifacts_dir)}
    note = {"directory": str(artifacts_dir), "files": before}
    (directory.path / BEFORE).write_text(json.dumps(note), encoding="utf-8")


def copy_artifacts(agent: Agent, job: Job, run: Run) -> list[ArtifactFile]:
    """Copies what the run made and returns the copies; what cannot be taken is logged."""
    directory = agent.directory_of(run)
    try:
        note = json.loads((directory.path / BEFORE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # the run never came so far
        return []
    artifacts_dir = Path(agent.runs.get(run.id).artifacts_dir or note["directory"])
    before = note["files"] if str(artifacts_dir) == note["directory"] else {}
    copies = []
    for name, path in _wanted_files(agent.settings, artifacts_dir):
        if before.get(name) != _fingerprint(path):
            try:
                copies.append(_copy(path, name, directory.path / COPIES))
            except OSError as exc:
                logger.error(
                    "cannot take the artifact %s: %s",
                    path,
                    exc.strerror,
                    extra={"action": "artifact_unreadable", "job": job.id, "task": job.task_id},
                )
    return copies


def artifacts_in(settings: Settings, directory: Path) -> list[ArtifactFile]:
    """Returns the files below a directory as artifacts, where they are.

    Raises:
        OSError: one cannot be read.
    """
    return [_described(path, name) for name, path in _wanted_files(settings, directory)]


def to_payload(artifact: ArtifactFile) -> dict[str, object]:
    """Returns the stored form of an artifact that is to be sent."""
    return {**dataclasses.asdict(artifact), "file": str(artifact.file)}


def from_payload(payload: dict[str, object]) -> ArtifactFile:
    """Reads the stored form."""
    return ArtifactFile(**{**payload, "file": Path(str(payload["file"]))})  # type: ignore[arg-type]


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yields the regular files below a directory; links are not followed, they may lead out."""
    for folder, directories, names in os.walk(root):
        directories.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix(), path


def _fingerprint(path: Path) -> list[int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _wanted_files(settings: Settings, root: Path) -> Iterator[tuple[str, Path]]:
    extensions = settings.artifacts_extensions
    for name, path in _files(root):
        if extensions and not name.lower().endswith(extensions):
            continue
        size, limit = path.stat().st_size, settings.artifacts_max_size
        if size <= limit:
            yield name, path
            continue
        logger.warning(
            "the artifact %s is too large: %s, the limit is %s; set KERUTA_MAX_FILE_SIZE",
            name,
            format_size(size),
            format_size(limit),
            extra={"action": "artifact_too_large"},
        )


def _copy(path: Path, name: str, copies: Path) -> ArtifactFile:
    """Copies a file; what is hashed and sent is the copy, which nobody changes any more."""
    target = copies / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return _described(target, name)


def _described(path: Path, name: str) -> ArtifactFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return ArtifactFile(
        file=path,
        relative_path=name,
        size=path.stat().st_size,
        sha256=digest.hexdigest(),
        content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
    )
