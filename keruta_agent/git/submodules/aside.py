"""What stood in the way in a clone: submodules' repositories, directories where one belongs.

It is bounded in number and size. What holds commits that no server has is never removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import time
from pathlib import Path
from typing import Final

from keruta_agent.core import errors, file_trees
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Say
from keruta_agent.git.config import repository as repository_config
from keruta_agent.git.problems import GitError, Problem

#: Where in a clone's git directory is kept what stood in the way.
ASIDE: Final = Path("keruta") / "aside"
#: What is kept there, and its bytes, until a person has to come.
MOST_ASIDE: Final = 20
MOST_ASIDE_BYTES: Final = 10 * 1024**3


def move(clone: Clone, place: Path, say: Say) -> Path | None:
    """Move what is in the way into the clone's git directory; return where it is then.

    Raises:
        WorkspaceError: it cannot be moved, or too much was moved before.
    """
    if not os.path.lexists(place):
        return None
    aside = clone.git_dir / ASIDE / f"{time.time_ns():x}-{place.name}"
    _make_room(clone, aside.parent, place)
    try:
        aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file_trees.make_usable(place)  # to move a directory to another one takes that
        place.rename(aside)
    except OSError as exc:
        message = f"cannot move {place} out of the way: {exc.strerror}"
        if exc.errno in (errno.EACCES, errno.EPERM):  # the whole clone can be moved all the same
            raise GitError(message, Problem.PERMISSION) from exc
        raise errors.WorkspaceError(message) from exc
    say(f"moved {place} aside, to {aside}")
    return aside


def _make_room(clone: Clone, aside: Path, place: Path) -> None:
    """See to it that one more can be moved aside: the oldest that holds no commits goes.

    Raises:
        WorkspaceError: all of them hold commits that no server has, or cannot be removed.
    """
    kept = sorted(aside.iterdir()) if aside.is_dir() else []
    sizes = {one: file_trees.disk_usage(one) for one in kept}
    for one in kept:
        if len(sizes) < MOST_ASIDE and sum(sizes.values()) <= MOST_ASIDE_BYTES:
            return
        if not _any_holds_commits(clone, one):
            with contextlib.suppress(OSError):
                file_trees.remove(one)
                del sizes[one]
    if len(sizes) < MOST_ASIDE and sum(sizes.values()) <= MOST_ASIDE_BYTES:
        return
    raise errors.WorkspaceError(
        f"cannot move {place} out of the way: the {len(sizes)} that were moved before hold commits "
        f"that no server has, or files of other users",
        advice=f"Take from {aside} what you need, and remove the rest: "
        f"sudo rm -rf {shlex.quote(str(aside))}",
    )


def _any_holds_commits(clone: Clone, place: Path) -> bool:
    """Return whether any repository at or below a place has commits that no server has."""
    for folder, inner, names in file_trees.walk(place):
        found = Path(folder)
        if "HEAD" not in names or "objects" not in inner:
            continue
        try:
            # A task's settings could have git start a program.
            repository_config.settle(found, is_ours=True)
        except errors.WorkspaceError:
            return True  # nobody knows
        if holds_commits(clone, found):
            return True
    return False


def holds_commits(clone: Clone, module: Path) -> bool:
    """Return whether a bare repository has commits that no server has."""
    # Its work tree may be gone, and is not looked at.
    git = clone.git.at_bare(module).with_variables({"GIT_WORK_TREE": str(module)})
    head = ("HEAD",) if git.holds("rev-parse", "--verify", "--quiet", "HEAD") else ()
    left = git.run(
        *("rev-list", "--max-count=1", "--all", *head, "--not", "--remotes"),
        action="look for commits that no server has",
        ok=False,
    )
    return left.code != 0 or bool(left.output)
