"""What is checked out in a work tree, and what lies uncommitted in it: set aside, never lost."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from keruta_agent.core import errors, file_trees
from keruta_agent.git import commit as commits
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, records
from keruta_agent.git.problems import GitError, Problem, error_from

#: Where everything is kept that was set aside; ``git stash apply REF`` brings it back.
KEPT: Final = "refs/keruta"
#: Files in ``.git`` that say that somebody is in the middle of something.
_UNFINISHED: Final = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "BISECT_LOG": "bisect",
}

_Given = TypeVar("_Given")
#: How many fields stand before the path, by the first character of an entry of ``git status``.
_FIELDS: Final = {"1": 8, "u": 10, "?": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One entry of ``git status``."""

    path: str
    #: Whether git does not know the file, or the directory.
    is_untracked: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What is checked out in a work tree, and what lies uncommitted in it."""

    #: The branch that is checked out; None on a detached HEAD.
    branch: str | None
    #: The commit that is checked out; None before the first one.
    commit: str | None
    #: Without what is ignored, and without the repositories inside of this one.
    changes: list[Change]
    #: Directories that are repositories themselves: they are neither committed nor removed.
    nested: list[str]


def look(git: Git, *, wholly: bool = False) -> Found:
    """Return what is checked out and what is not committed, asked of one git.

    Raises:
        GitError: git cannot tell; with ``wholly`` also when it cannot look into a directory.
    """
    found = _status(git, [], wholly=wholly)
    nested = [
        path
        for change in found.changes
        if change.is_untracked and change.path.endswith("/")
        for path in _repositories(git.directory, change.path.rstrip("/"))
    ]
    return _status(git, nested) if nested else found


def _status(git: Git, nested: list[str], *, wholly: bool = False) -> Found:
    action = "look at the work tree"
    result = git.run(
        *("status", "--porcelain=v2", "--branch", "--no-ahead-behind", "-z", "--no-renames"),
        *("--untracked-files=normal", "--ignore-submodules=dirty"),
        *(["--", ":/", *commits.excluding(nested)] if nested else []),
        action=action,
    )
    if wholly and "could not open directory" in result.complaints:  # a mere warning of git's
        raise error_from(action, result.complaints)
    entries = list(records(result.output))
    headers = dict(entry[2:].partition(" ")[::2] for entry in entries if entry.startswith("# "))
    branch, commit = headers.get("branch.head"), headers.get("branch.oid")
    return Found(
        branch=None if branch == "(detached)" else branch,
        commit=None if commit == "(initial)" else commit,
        changes=[
            Change(is_untracked=kind == "?", path=entry.split(" ", _FIELDS[kind])[-1])
            for entry in entries
            if (kind := entry[0]) in _FIELDS
        ],
        nested=nested,
    )


def _repositories(root: Path, path: str) -> Iterator[str]:
    """Yield the repositories in an untracked directory, itself among them."""
    for folder, inner, names in file_trees.walk(root / path):
        if ".git" in inner or ".git" in names:
            inner.clear()
            yield Path(folder).relative_to(root).as_posix()


def unfinished(git_dir: Path) -> str | None:
    """Return the operation (merge, rebase ...) that is unfinished in the repository."""
    return next((what for name, what in _UNFINISHED.items() if (git_dir / name).exists()), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetAside:
    """The refs that keep what was found in a work tree; None for what was not there."""

    #: What was not committed.
    changes: str | None
    #: Commits of a detached HEAD that no ref had.
    commits: str | None


def set_aside(clone: Clone, name: str, reason: str) -> SetAside:
    """Stash what is not committed under a ref of this name, and name commits that no ref has.

    First everything is stored and named, and only then is the work tree cleaned: a kill in between
    loses nothing.

    Raises:
        WorkspaceError: it cannot be stored, or somebody's merge must not be disturbed.
    """
    git, git_dir = clone.git, clone.git_dir
    begun = unfinished(git_dir)
    if begun is not None and not clone.is_ours:
        raise errors.WorkspaceError(
            f"a {begun} is unfinished in {clone.directory}", advice="Finish it or abort it"
        )
    found = _permitted(clone, lambda: look(git, wholly=clone.is_ours))
    ref = None
    if found.changes:
        ref = _permitted(clone, lambda: _snapshot(clone, found, name, reason))
        _permitted(clone, lambda: _clean(git))
    if begun == "rebase":
        git.run("rebase", "--quit", action="end an unfinished rebase", ok=False)
        git.run("am", "--quit", action="end an unfinished rebase", ok=False)
    elif begun is not None and ref is None:
        git.run("reset", "--quiet", "--merge", action=f"end an unfinished {begun}", ok=False)
    return SetAside(changes=ref, commits=_keep_head(git, found))


def _clean(git: Git) -> None:
    git.run("reset", "--quiet", "--hard", action="clean the work tree")
    git.run("clean", "--quiet", "-d", "--force", action="clean the work tree")


def _permitted(clone: Clone, act: Callable[[], _Given]) -> _Given:
    """Act, and once more with what we own made accessible, if permissions were the obstacle."""
    try:
        return act()
    except GitError as exc:
        if not clone.is_ours or exc.problem is not Problem.PERMISSION:
            raise
        file_trees.open_up(clone.directory)
        return act()


def _keep_head(git: Git, found: Found) -> str | None:
    head = found.commit
    if head is None or found.branch is not None:
        return None
    if git.find("for-each-ref", "--count=1", f"--contains={head}"):
        return None
    ref = f"{KEPT}/detached/{head[:12]}"
    git.run("update-ref", ref, head, action=f"keep {head[:12]}")
    return ref


def _snapshot(clone: Clone, found: Found, name: str, reason: str) -> str:
    """Store the work tree as a commit of the form of a stash, and return the ref that names it.

    Neither the work tree nor the index is changed.
    """
    git, head = clone.git, found.commit
    parents = [] if head is None else [head]
    tree = _tree(clone, found.nested)
    # The index of a stash is its second parent; what was staged is in the tree like the rest.
    staged = tree if head is None else f"{head}^{{tree}}"
    index = commits.commit_tree(git, staged, parents, f"index of: {reason}")
    commit = commits.commit_tree(git, tree, [*parents, index], f"keruta-agent: {reason}")
    ref = f"{KEPT}/{name}"
    existing = git.find("rev-parse", "--verify", "--quiet", ref)
    if existing is not None and git.find("rev-parse", f"{existing}^{{tree}}") != tree:
        ref = f"{ref}-{time.time_ns():x}"
    git.run("update-ref", ref, commit, action=f"name what was set aside {ref}")
    return ref


def _tree(clone: Clone, nested: list[str]) -> str:
    """Write the work tree, with a separate index that starts as a copy of the real one."""
    git_dir = clone.git_dir
    temporary = git_dir / "keruta-index"
    temporary.unlink(missing_ok=True)
    (git_dir / "keruta-index.lock").unlink(missing_ok=True)
    if (git_dir / "index").exists():
        shutil.copyfile(git_dir / "index", temporary)
    try:
        git = clone.git.with_variables({"GIT_INDEX_FILE": str(temporary)})
        commits.stage(git, nested)
        return commits.write_tree(git)
    finally:
        temporary.unlink(missing_ok=True)
