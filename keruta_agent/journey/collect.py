"""Collects the artifacts that a run left in the artifacts directory, or added while it ran.

The directory is shared by the tasks of a workspace, so a run's artifacts are the files that are
new or changed since it started. They are copied into the run directory: what is sent later, after
an outage, is what this run made, not what the next one wrote over it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from keruta_agent import bounded_json, file_trees
from keruta_agent.journey import exclude, select_artifacts
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.select_artifacts import Taken
from keruta_agent.model import ArtifactFile
from keruta_agent.records.artifacts import ArtifactState, Owner
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Run
from keruta_agent.runs import media
from keruta_agent.runs.directory import ADDED, RunDirectory
from keruta_agent.runs.files import open_regular, write_private
from keruta_agent.runs.messages import ArtifactTold
from keruta_agent.runs.tree import Entry, entries_below

logger = logging.getLogger(__name__)

COPIES: Final = "artifacts"
BEFORE: Final = "artifacts-before.json"
#: Bytes and values of the note of what was there before: a million files. The script can write it.
MOST_NOTE_BYTES: Final = 128 * 1024 * 1024
MOST_NOTE_VALUES: Final = 1_000_000


def prepare_directory(agent: Agent, run: Run, working_directory: Path) -> Path:
    """Returns the artifacts directory, made if need be, and kept out of git's commits."""
    chosen = agent.artifacts_directories.choose(
        agent.settings.artifacts_dir, working_directory, agent.directory_of(run)
    )
    exclude.keep_out_of_commits(chosen)
    return chosen


def remember_before(directory: RunDirectory, artifacts_dir: Path) -> None:
    """Notes what is in the artifacts directory before the script starts."""
    before: dict[str, str] = {}
    for entry in entries_below(artifacts_dir):
        if isinstance(entry, Entry):
            before[entry.path] = entry.fingerprint()
        else:  # a directory that cannot be entered, left by an earlier task
            before[str(entry.filename)] = ""
    note = {"directory": str(artifacts_dir), "files": before}
    write_private(directory.path / BEFORE, json.dumps(note))


def _read_before(directory: RunDirectory) -> tuple[Path, dict[str, str]] | None:
    """Return what ``remember_before`` noted, None when it came not so far.

    Raises:
        ValueError: it makes no sense, or holds too much; the script may have written it.
        OSError: it cannot be read.
    """
    try:
        descriptor = open_regular(directory.path / BEFORE)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MOST_NOTE_BYTES + 1)
    if len(data) > MOST_NOTE_BYTES:
        raise ValueError(f"it holds more than {MOST_NOTE_BYTES} bytes")
    note = bounded_json.loads(data.decode("utf-8", "surrogateescape"), most_values=MOST_NOTE_VALUES)
    try:
        return Path(note["directory"]), {
            path: _fingerprint(noted) for path, noted in note["files"].items()
        }
    except (TypeError, KeyError, AttributeError):
        raise ValueError("it has another shape") from None


def _fingerprint(noted: object) -> str:
    """Return a fingerprint as it is compared; an agent before an upgrade noted three numbers."""
    return " ".join(map(str, noted)) if isinstance(noted, list) else str(noted)


def copy_artifacts(
    agent: Agent, job: Job, run: Run, left_out: Callable[[str, str], None]
) -> list[Taken]:
    """Copies what the run made and returns the copies.

    What cannot be taken is logged, and told to ``left_out``: its path, and why.
    """
    directory = agent.directory_of(run)
    kept = directory.path / COPIES
    # What an agent left that was killed before it stored them.
    with contextlib.suppress(OSError):
        file_trees.remove(kept)
    try:
        found = _read_before(directory)
    except (ValueError, OSError) as exc:
        why = f"yields no artifacts: what was there before the script cannot be told: {exc}"
        logger.warning(
            "job %d: %s", job.id, why, extra={"action": "artifacts_not_told", "job": job.id}
        )
        left_out("", why)
        return []
    if found is None:
        return []
    listed, before = found
    artifacts_dir = Path(agent.records.runs.get(run.id).artifacts_dir or listed)
    if artifacts_dir != listed:
        before = {}
    taken = []
    try:
        for entry, descriptor in select_artifacts.wanted_files(
            agent.settings, artifacts_dir, before=before, left_out=left_out
        ):
            try:
                taken.append(select_artifacts.take(entry, descriptor, artifacts_dir, kept))
            except OSError as exc:
                _complain(job, artifacts_dir / entry.path, exc)
                left_out(entry.path, f"cannot be taken: {exc.strerror}")
    except OSError as exc:
        _complain(job, artifacts_dir, exc)
        left_out("", f"cannot be read: {exc.strerror}")
    return taken


def _complain(job: Job, path: Path, exc: OSError) -> None:
    logger.error(
        "cannot take the artifact %s: %s",
        select_artifacts.wire_path(str(path)),
        exc.strerror,
        extra={"action": "artifact_unreadable", "job": job.id, "task": job.task_id},
    )


def owner_of(job: Job, run: Run) -> Owner:
    """Returns whose artifacts a run's are."""
    return Owner(task_id=job.task_id, job_id=job.id, run_id=run.id)


def store(agent: Agent, job: Job, run: Run, taken: Sequence[Taken]) -> None:
    """Stores what was copied; what the task has already, with the same content, is dropped."""
    owner = owner_of(job, run)
    for number, each in enumerate(taken):
        if agent.records.artifacts.known(owner, each.file.relative_path, each.file.sha256) is None:
            # Not the name: keys are sent as a header, which takes neither Japanese nor spaces.
            key = f"{run.uid}-artifact-{number}"
            agent.records.artifacts.add(owner, each.file, key=key, is_copy=each.is_copy)
        elif each.is_copy:
            _drop(each.file.file)


def take_in(agent: Agent, job: Job, run: Run, told: ArtifactTold) -> None:
    """Stores a file that the script added (``keruta artifact add``), if it has changed.

    Raises:
        ValueError: the copy that the command left is gone or was changed.
    """
    owner = owner_of(job, run)
    path = select_artifacts.wire_path(told.path)
    copy = agent.directory_of(run).path / ADDED / told.file
    known = agent.records.artifacts.known(owner, path, told.sha256)
    if known is not None and known.state in (ArtifactState.WAITING, ArtifactState.SENT):
        _drop(copy)
        return
    try:
        descriptor = open_regular(copy)
    except OSError as exc:
        raise ValueError(f"the copy of the artifact {path} is gone: {exc.strerror}") from exc
    try:
        if os.fstat(descriptor).st_size != told.size:
            raise ValueError(f"the copy of the artifact {path} was changed")
        kind = media.content_type(descriptor, told.path)
    finally:
        os.close(descriptor)
    file = ArtifactFile(
        file=copy,
        relative_path=path,
        size=told.size,
        sha256=told.sha256,
        content_type=kind,
        description=told.description,
    )
    agent.records.artifacts.add(owner, file, key=f"{run.uid}-added-{told.file[:16]}", is_copy=True)


def _drop(copy: Path) -> None:
    with contextlib.suppress(OSError):
        copy.unlink()
