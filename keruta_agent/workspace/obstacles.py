"""Moves aside what keeps a task's branch from being checked out, so that none of it is lost."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from keruta_agent import file_trees
from keruta_agent.git import remote as refs
from keruta_agent.git import work_tree as tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say, records
from keruta_agent.workspace import moved, rescue

_TREE: Final = "tree"


def clear(clone: Clone, branch: str, start: str, say: Say) -> None:
    """Make room for a branch and its files in a clone that the agent made.

    Raises:
        WorkspaceError: something cannot be moved.
    """
    clear_branches(clone.git, branch, say)
    for path in tree.look(clone.git).nested:
        if _is_wanted(clone.git, start, path):
            _move_repository(clone, path, say)


def clear_branches(git: Git, branch: str, say: Say) -> None:
    """Keep under other names the branches that git cannot have beside a task's.

    Raises:
        GitError: one cannot be moved.
    """
    for name in refs.in_the_way(git, f"refs/heads/{branch}"):
        commit = git.text("rev-parse", "--verify", name, action=f"find {name}")
        kept = f"{tree.KEPT}/replaced/{name.removeprefix('refs/heads/')}/{commit[:12]}"
        git.run("update-ref", kept, commit, action=f"keep {name}")
        if git.find("symbolic-ref", "--quiet", "HEAD") == name:
            git.run("update-ref", "--no-deref", "HEAD", commit, action=f"leave {name}")
        git.run("update-ref", "--no-deref", "-d", name, action=f"remove {name}")
        say(f"kept the branch {name}, which was in the way, as {kept}")


def _is_wanted(git: Git, start: str, path: str) -> bool:
    """Tell whether a commit has files where a directory is."""
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
