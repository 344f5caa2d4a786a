"""Sets aside what lies uncommitted in a work tree, so that it is neither lost nor in the way."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from keruta_agent import errors, file_trees
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


#: What git takes off the ends of a name (``crud`` in its ident.c): nothing may be left of it.
_NO_NAME: Final = "".join(map(chr, range(33))) + ".,:;<>\"\\'"
_Given = TypeVar("_Given")
_FALLBACK: Final = {"name": "keruta-agent", "email": "keruta-agent@localhost"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One entry of ``git status``."""

    code: str
    path: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What lies uncommitted in a work tree."""

    #: Without what is ignored, and without the repositories inside of this one.
    changes: list[Change]
    #: Directories that are repositories themselves: they are neither committed nor removed.
    nested: list[str]


def look(git: Git, *, wholly: bool = False) -> Found:
    """Returns what is not committed.

    Raises:
        GitError: git cannot tell; with ``wholly`` also when it cannot look into a directory.
    """
    changes = _changes(git, [], wholly=wholly)
    nested = [
        path
        for change in changes
        if change.code == "??" and change.path.endswith("/")
        for path in _repositories(git.directory, change.path.rstrip("/"))
    ]
    return Found(changes=_changes(git, nested) if nested else changes, nested=nested)


def _changes(git: Git, nested: list[str], *, wholly: bool = False) -> list[Change]:
    action = "look at the work tree"
    result = git.run(
        *("status", "--porcelain=v1", "-z", "--untracked-files=normal"),
        *("--ignore-submodules=dirty", "--no-renames"),
        *(["--", ":/", *_excluded(nested)] if nested else []),
        action=action,
    )
    if wholly and "could not open directory" in result.complaints:  # a mere warning of git's
        raise error_from(action, result.complaints)
    return [Change(code=entry[:2], path=entry[3:]) for entry in records(result.output)]


def _repositories(root: Path, path: str) -> Iterator[str]:
    """Yields the repositories in an untracked directory, itself among them."""
    for folder, inner, names in file_trees.walk(root / path):
        if ".git" in inner or ".git" in names:
            inner.clear()
            yield Path(folder).relative_to(root).as_posix()


def unfinished(git_dir: Path) -> str | None:
    """Returns what somebody has begun in the repository and not finished."""
    return next((what for name, what in _UNFINISHED.items() if (git_dir / name).exists()), None)


def set_aside(clone: Clone, name: str, reason: str) -> str | None:
    """Stashes what is not committed under a ref of this name; returns the ref, None when clean.

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
        ref = _permitted(clone, lambda: snapshot(clone, name, reason, found.nested))
        _permitted(clone, lambda: _clean(git))
    if begun == "rebase":
        git.run("rebase", "--quit", action="end an unfinished rebase", ok=False)
        git.run("am", "--quit", action="end an unfinished rebase", ok=False)
    elif begun is not None and ref is None:
        git.run("reset", "--quiet", "--merge", action=f"end an unfinished {begun}", ok=False)
    return ref


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


def keep_head(clone: Clone) -> str | None:
    """Names the commits of a detached HEAD that no ref has; returns the ref, None for none."""
    git = clone.git
    head = git.find("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head is None or git.find("symbolic-ref", "--quiet", "HEAD") is not None:
        return None
    if git.find("for-each-ref", "--count=1", f"--contains={head}"):
        return None
    ref = f"{KEPT}/detached/{head[:12]}"
    git.run("update-ref", ref, head, action=f"keep {head[:12]}")
    return ref


def snapshot(clone: Clone, name: str, reason: str, nested: list[str]) -> str:
    """Stores the work tree as a commit of the form of a stash, and returns the ref that names it.

    Neither the work tree nor the index is changed.
    """
    git = clone.git
    head = git.find("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    parents = [] if head is None else ["-p", head]
    tree = _tree(clone, nested)
    identity = git.with_variables(fallback_identity(git))
    # The index of a stash is its second parent; what was staged is in the tree like the rest.
    staged = tree if head is None else f"{head}^{{tree}}"
    index = identity.text(
        *("commit-tree", staged, *parents, "-m", f"index of: {reason}"),
        action="set the work tree aside",
    )
    commit = identity.text(
        *("commit-tree", tree, *parents, "-p", index, "-m", f"keruta-agent: {reason}"),
        action="set the work tree aside",
    )
    ref = f"{KEPT}/{name}"
    existing = git.find("rev-parse", "--verify", "--quiet", ref)
    if existing is not None and git.find("rev-parse", f"{existing}^{{tree}}") != tree:
        ref = f"{ref}-{time.time_ns():x}"
    git.run("update-ref", ref, commit, action=f"name what was set aside {ref}")
    return ref


def _tree(clone: Clone, nested: list[str]) -> str:
    """Writes the work tree, with an index of its own that starts as a copy of the real one."""
    git_dir = clone.git_dir
    temporary = git_dir / "keruta-index"
    temporary.unlink(missing_ok=True)
    (git_dir / "keruta-index.lock").unlink(missing_ok=True)
    if (git_dir / "index").exists():
        shutil.copyfile(git_dir / "index", temporary)
    try:
        git = clone.git.with_variables({"GIT_INDEX_FILE": str(temporary)})
        git.run(*add_all(nested), action="set the work tree aside")
        return git.text("write-tree", action="set the work tree aside")
    finally:
        temporary.unlink(missing_ok=True)


def add_all(nested: list[str]) -> list[str]:
    """Returns the command that stages everything but the repositories inside of this one."""
    return ["add", "--all", "--", ":/", *_excluded(nested)]


def _excluded(nested: list[str]) -> list[str]:
    return [f":(exclude,top,literal){path}" for path in nested]


def fallback_identity(git: Git) -> dict[str, str]:
    """Return variables for an author and a committer, where nothing else names them.

    Git refuses a commit when a name is empty, or nothing but punctuation.
    """
    found = git.find("config", "-z", "--get-regexp", r"^(user|author|committer)\.(name|email)$")
    known = dict(entry.split("\n", 1) for entry in (found or "").split("\0") if "\n" in entry)
    return {
        variable: fallback
        for role in ("author", "committer")
        for what, fallback in _FALLBACK.items()
        if not _is_name(git.variable(variable := f"GIT_{role}_{what}".upper()))
        and not _is_name(known.get(f"{role}.{what}", known.get(f"user.{what}")))
    }


def _is_name(text: str | None) -> bool:
    return bool(text and text.strip(_NO_NAME))
