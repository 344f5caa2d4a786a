"""What keeps a task's branch from being checked out, moved aside so that none of it is lost."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from keruta_agent.agent.workspace import moved, rescue
from keruta_agent.core import file_trees
from keruta_agent.git import checkout, work_tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say, records

_TREE: Final = "tree"


def clear(clone: Clone, branch: str, start: str, say: Say) -> None:
    """Make room for a branch and its files in a clone that the agent made.

    Raises:
        WorkspaceError: something cannot be moved.
    """
    checkout.clear_branches(clone.git, branch, say)
    for path in work_tree.look(clone.git).nested:
        if _is_wanted(clone.git, start, path):
            _move_repository(clone, path, say)


def _is_wanted(git: Git, start: str, path: str) -> bool:
    """Return whether a commit has files where a directory is."""
    above = [str(parent) for parent in PurePosixPath(path).parents][:-1]
    found = git.run("ls-tree", "-z", start, "--", *above, path, action="look at the files").output
    for entry in records(found):
        about, _, name = entry.partition("\t")
        if name == path or about.split(" ")[1] != _TREE:
            return True
    return False


def _move_repository(clone: Clone, path: str, say: Say) -> None:
    place = clone.directory / path
    aside = moved.move_aside(place, f"a repository in the way of {path}", beside=clone.directory)
    git_dir = aside.directory / ".git"
    if file_trees.is_directory(git_dir):
        aside = moved.note_compared(aside, tuple(rescue.own_tips(git_dir)))
    say(f"moved the repository {place}, which was in the way, to {aside.directory}")
