"""A directory that is to be a clone: what it holds, and who works in it."""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import errors, file_trees
from keruta_agent.git.repository.notes import NOTES, Notes

#: Seconds between looks whether another agent has released a directory.
LOCK_LOOK_S: Final = 0.1


class Found(enum.Enum):
    """What there is in a directory that is to be a clone."""

    NOTHING = enum.auto()
    #: Begun by an agent that was killed: it may be removed.
    HALF_CLONE = enum.auto()
    OURS = enum.auto()
    #: A clone that somebody else made.
    FOREIGN = enum.auto()
    #: Something that is no clone.
    OTHER = enum.auto()


def look(directory: Path) -> Found:
    """Return what a directory holds."""
    if directory.is_symlink() and not directory.exists():
        return Found.OTHER
    if not directory.exists():
        return Found.NOTHING
    if not directory.is_dir():
        return Found.OTHER
    open_gate(directory)
    notes = Notes(git_dir=directory / ".git")
    if notes.is_whole:
        return Found.OURS
    try:
        others = [path for path in directory.iterdir() if path.name != ".git"]
    except OSError:
        return Found.OTHER
    if not others and (notes.is_ours or notes.is_mere_beginning):
        return Found.HALF_CLONE
    if notes.git_dir.exists():
        return Found.FOREIGN
    return Found.OTHER if others else Found.NOTHING


def open_gate(directory: Path) -> None:
    """Let us list a directory that is or may be a clone, where a task took that from us."""
    for place in (directory, directory / ".git", directory / ".git" / NOTES):
        if file_trees.is_directory(place) and not os.access(place, os.R_OK | os.X_OK):
            file_trees.make_usable(place)


def refuse(directory: Path) -> errors.WorkspaceError:
    """Return the error for a directory that holds something else."""
    return errors.WorkspaceError(
        f"{directory} is not empty and holds no clone of the session's repository",
        advice="Set KERUTA_WORKING_DIR to an empty directory, or move this one away: "
        f"mv {shlex.quote(str(directory))} {shlex.quote(f'{directory}.other')}",
    )


@contextlib.contextmanager
def locked(path: Path, timeout_s: float) -> Iterator[None]:
    """Keep other agents out of a directory while the block runs.

    The kernel releases the lock when the process is killed.

    Raises:
        WorkspaceError: another agent did not release it in time, or there is no such directory.
    """
    deadline = time.monotonic() + timeout_s
    while (descriptor := _lock(path)) is None:
        if time.monotonic() > deadline:
            raise errors.WorkspaceError(
                f"another agent works in {path}",
                advice="Give each agent a KERUTA_BASE_DIR or KERUTA_WORKING_DIR of its own",
            )
        time.sleep(LOCK_LOOK_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return a descriptor that locks a directory, None while another one has it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot use {path}: {exc.strerror}") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have moved it aside, and made another one.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
