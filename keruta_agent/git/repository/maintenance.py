"""Upkeep of a clone: stale locks, hidden files, packs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import file_trees
from keruta_agent.git.command import Git, records
from keruta_agent.git.problems import GitError

#: Loose objects that are packed together; a task leaves some five.
_MANY_OBJECTS: Final = 3000
#: How ``git ls-files`` marks what a sparse checkout leaves out.
_NOT_IN_THE_TREE: Final = "S"
#: Directories of ``.git`` in which git makes no locks, and which may be huge.
_WITHOUT_LOCKS: Final = frozenset({"objects", "lfs", "hooks"})


def stale_locks(git_dir: Path) -> list[Path]:
    """Return the locks in a repository that no living git can hold.

    Git cannot be asked who holds one. While any git runs in the repository, none counts as stale.
    """
    locks = list(_locks(git_dir))
    if not locks or git_runs_in(git_dir.parent):
        return []
    return locks


def remove_locks(git_dir: Path) -> list[str]:
    """Remove the stale locks and return their names."""
    removed = []
    for lock in stale_locks(git_dir):
        lock.unlink(missing_ok=True)
        removed.append(lock.relative_to(git_dir).as_posix())
    return removed


def unhide(git: Git) -> int:
    """Have git look at all files again, where a task asked it not to; return how many those were.

    Such files keep their content for the next task, or are left out of its work tree. What a
    sparse checkout left out is brought back: it is no change of anybody's.
    """
    listed = git.run("ls-files", "-v", "-z", action="list the files").output
    hidden = [
        entry[2:] for entry in records(listed) if entry[0].islower() or entry[0] == _NOT_IN_THE_TREE
    ]
    names = os.fsencode("".join(f"{name}\0" for name in hidden))
    for flag in ("--no-assume-unchanged", "--no-skip-worktree") if hidden else ():
        git.run("update-index", flag, "-z", "--stdin", stdin=names, action="look at all files")
    left_out = [name for name in hidden if not os.path.lexists(git.directory / name)]
    if left_out:
        git.run(
            *("checkout-index", "-z", "--stdin"),
            stdin=os.fsencode("".join(f"{name}\0" for name in left_out)),
            action="bring back what a sparse checkout left out",
            ok=False,
        )
    return len(hidden)


def keep_house(git: Git) -> None:
    """Pack what many tasks have left, once it has become much; nothing that a ref names is lost.

    Here and not in the background, where git would do it: a task must leave no process behind.
    """
    # What goes wrong here is no concern of the task's; the next one tries again.
    with contextlib.suppress(GitError):
        git.run(
            *("-c", f"gc.auto={_MANY_OBJECTS}", "-c", "gc.autoDetach=false"),
            *("gc", "--auto", "--quiet"),
            action="clean the clone up",
            ok=False,
        )


def _locks(git_dir: Path) -> Iterator[Path]:
    for folder, inner, names in file_trees.walk(git_dir):
        if Path(folder) == git_dir:
            inner[:] = [name for name in inner if name not in _WITHOUT_LOCKS]
        for name in names:
            if name.endswith(".lock"):
                yield Path(folder) / name


def git_runs_in(directory: Path) -> bool:
    """Return whether any git works in a directory or below it."""
    place = str(directory.resolve())
    return any(cwd == place or cwd.startswith(f"{place}/") for cwd in _directories_of_gits())


def _directories_of_gits() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "comm").read_bytes().startswith(b"git") and _lives(entry):
                yield str((entry / "cwd").readlink())
        except OSError:  # gone meanwhile, or another user's
            continue


def _lives(entry: Path) -> bool:
    state = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
    return state not in (b"Z", b"X")
