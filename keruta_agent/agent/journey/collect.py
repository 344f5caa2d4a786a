"""The artifacts that a run left in the artifacts directory.

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

from keruta_agent.agent.delivery import select_artifacts
from keruta_agent.agent.delivery.select_artifacts import Taken
from keruta_agent.agent.journey.artifacts import exclude
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe.monitor import ProgramMonitor
from keruta_agent.agent.run.artifacts import copies
from keruta_agent.agent.run.artifacts.tree import Entry, entries_below
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.files import open_regular, write_private
from keruta_agent.agent.store.jobs import Job
from keruta_agent.core import bounded_json, file_trees

logger = logging.getLogger(__name__)

COPIES: Final = "artifacts"
BEFORE: Final = "artifacts-before.json"
#: Bytes and values of the note of what was there before: a million files. The script can write it.
MOST_NOTE_BYTES: Final = 128 * 1024 * 1024
MOST_NOTE_VALUES: Final = 1_000_000
#: Files that the log names; a script that leaves thousands of links needs no line for each.
MOST_LEFT_OUT: Final = 50

#: Called with the path of what is left out, and why.
LeftOut = Callable[[str, str], None]


def prepare_directory(ctx: RunContext, working_directory: Path) -> Path:
    """Return the artifacts directory, made if need be, and kept out of git's commits."""
    chosen = ctx.agent.artifacts_directories.choose(
        ctx.settings.artifacts_dir, working_directory, ctx.directory
    )
    exclude.keep_out_of_commits(chosen)
    return chosen


def remember_before(directory: RunDirectory, artifacts_dir: Path) -> None:
    """Note what is in the artifacts directory before the script starts."""
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
        ValueError: it is malformed, or holds too much; the script may have written it.
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


def copy_artifacts(ctx: RunContext) -> list[Taken]:
    """Copy what the run made and return the copies; what was left out is in the run's log."""
    left_out: list[tuple[str, str]] = []
    taken = _copy(ctx, lambda path, why: left_out.append((path, why)))
    _report_left_out(ctx, left_out)
    return taken


def _copy(ctx: RunContext, left_out: LeftOut) -> list[Taken]:
    job, directory = ctx.job, ctx.directory
    kept = directory.path / COPIES
    # What an agent left that was killed before it stored them.
    with contextlib.suppress(OSError):
        file_trees.remove(kept)
    try:
        found = _read_before(directory)
    except (ValueError, OSError) as exc:
        why = f"yields no artifacts: what was there before the script is not known: {exc}"
        logger.warning(
            "job %d: %s", job.id, why, extra={"action": "artifacts_not_told", "job": job.id}
        )
        left_out("", why)
        return []
    if found is None:
        return []
    listed, before = found
    artifacts_dir = Path(ctx.run.artifacts_dir or listed)
    if artifacts_dir != listed:
        before = {}
    taken = []
    try:
        for entry, descriptor in select_artifacts.wanted_files(
            ctx.settings, artifacts_dir, before=before, left_out=left_out
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


def _report_left_out(ctx: RunContext, found: Sequence[tuple[str, str]]) -> None:
    """Add to the run's log which files did not become artifacts, by path, and why.

    Once, also when the agent is killed before the run's end is stored.
    """
    lines = [
        f"artifacts: {select_artifacts.wire_path(path) or 'the directory'} {why}"
        for path, why in found[:MOST_LEFT_OUT]
    ]
    if len(found) > len(lines):
        lines.append(f"artifacts: {len(found) - len(lines)} more files were left out")
    for number, text in enumerate(lines):
        identity = f"{ctx.run.uid}-left-out-{number}"
        ctx.log.warn_once(text, section="artifacts", identity=identity)
    if lines:
        ProgramMonitor(ctx).store_log()


def _complain(job: Job, path: Path, exc: OSError) -> None:
    logger.error(
        "cannot take the artifact %s: %s",
        select_artifacts.wire_path(str(path)),
        exc.strerror,
        extra={"action": "artifact_unreadable", "job": job.id, "task": job.task_id},
    )


def store(ctx: RunContext, taken: Sequence[Taken]) -> None:
    """Store what was copied; what the task has already, with the same content, is dropped."""
    owner = ctx.owner
    for number, each in enumerate(taken):
        if ctx.records.artifacts.known(owner, each.file.relative_path, each.file.sha256) is None:
            # Not the name: keys are sent as a header, which takes neither Japanese nor spaces.
            key = f"{ctx.run.uid}-artifact-{number}"
            ctx.records.artifacts.add(owner, each.file, key=key, is_copy=each.is_copy)
        elif each.is_copy:
            copies.drop(each.file.file)
