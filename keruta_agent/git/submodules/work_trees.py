"""Submodules are part of the workspace: brought, cleaned, set aside and removed like the rest.

Git itself leaves them behind: a checkout keeps the work tree of a submodule that the new commit
does not have, ``reset`` and ``clean`` stop at them, and what a task left in one meets the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import errors, file_trees
from keruta_agent.git import lfs, url, work_tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say, records, say_nothing
from keruta_agent.git.config import repository as repository_config
from keruta_agent.git.problems import GitError, Problem
from keruta_agent.git.repository import link
from keruta_agent.git.scan import GITLINK
from keruta_agent.git.submodules import aside

#: Submodules in submodules that are followed; a repository may name itself as its submodule.
DEEPEST: Final = 8
_KEY: Final = re.compile(r"submodule\.(?P<name>.+)\.(?P<key>path|url|update)", re.DOTALL)
#: How git says that a server lacks the commit that a submodule is to have.
_LACKING: Final = re.compile(r"not our ref|did not contain|unable to find current .*revision", re.I)
#: Problems that a second clone would meet as well.
_NOT_THE_CLONE: Final = frozenset(Problem) - {Problem.OTHER, Problem.LOCKED}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Submodule:
    """One submodule, as a commit of its superproject declares it."""

    name: str
    path: str
    #: As ``.gitmodules`` has it; it may be relative to the superproject's.
    url: str
    update: str = ""


def declared(git: Git, commit: str) -> dict[str, Submodule]:
    """Return the submodules that the ``.gitmodules`` of a commit declares, by their paths."""
    result = git.run(
        *("config", "--blob", f"{commit}:.gitmodules", "-z", "--get-regexp", r"^submodule\."),
        action="read .gitmodules",
        ok=False,
    )
    values: dict[str, dict[str, str]] = {}
    for entry in records(result.output if result.code == 0 else b""):
        key, _, value = entry.partition("\n")
        if found := _KEY.fullmatch(key):
            values.setdefault(found["name"], {})[found["key"]] = value
    return {
        fields["path"]: Submodule(
            name=name, path=fields["path"], url=fields["url"], update=fields.get("update", "")
        )
        for name, fields in values.items()
        if "path" in fields and "url" in fields
    }


def pinned(git: Git, commit: str, paths: list[str]) -> dict[str, str]:
    """Return the submodules among these paths in a commit, with the commits they are pinned to."""
    if not paths:
        return {}
    result = git.run("ls-tree", "-z", commit, "--", *paths, action="read the submodules", ok=False)
    found = {}
    for entry in records(result.output if result.code == 0 else b""):
        facts, _, path = entry.partition("\t")
        mode, _, object_name = facts.split(" ")
        if mode == GITLINK:
            found[path] = object_name
    return found


def present(clone: Clone) -> list[Clone]:
    """Return the submodules whose files are in the work tree, also of those no commit has now."""
    if not _may_have_any(clone):
        return []
    root = clone.directory
    places = {root / path for path in _in_index(clone.git)}
    places |= {place for place in map(_work_tree, modules(clone)) if place is not None}
    found = [
        Clone(git=clone.git.at(place), url=clone.url, is_ours=clone.is_ours)
        for place in sorted(places)
        if _belongs(clone, place)
    ]
    for inner in found:
        if inner.git_dir == inner.directory / ".git":  # a repository in the work tree itself
            repository_config.settle(inner.git_dir, is_ours=clone.is_ours)
    return found


def modules(clone: Clone) -> list[Path]:
    """Return the repositories that git keeps for the clone's own submodules, in use or not."""
    return repository_config.submodules_of(clone.git_dir)


def set_aside(clone: Clone, name: str, reason: str, say: Say) -> str | None:
    """Set aside what is not committed, in the submodules first; return its ref, None when clean.

    What is set aside in a submodule has a ref of the same name there. Commits that no ref has are
    named as well.

    Raises:
        WorkspaceError: see there.
    """
    _each(clone, lambda inner: _set_aside(clone, inner, name, reason, say), say)
    kept = work_tree.set_aside(clone, name, reason)
    if kept.commits is not None:
        say(f"kept commits that no branch had as {kept.commits}")
    return kept.changes


def uncommitted(clone: Clone) -> list[str]:
    """Return the paths of submodules with uncommitted changes."""
    found: list[str] = []

    def look(inner: Clone) -> None:
        if work_tree.look(inner.git).changes:
            found.append(_shown(clone, inner))

    _each(clone, look, say_nothing)
    return found


def only_here(clone: Clone) -> list[str]:
    """Return the names of submodules with commits or stashes that no server has."""
    return [
        module.relative_to(clone.git_dir / "modules").as_posix()
        for module in repository_config.repositories(clone.git_dir)
        if module != clone.git_dir and aside.holds_commits(clone, module)
    ]


def make_way(clone: Clone, commit: str | None, say: Say) -> None:
    """Remove the work trees of submodules that a commit to be checked out does not have.

    What they hold has been set aside before, and their repositories are kept as long as they hold
    commits that no server has.

    Raises:
        WorkspaceError: one cannot be removed.
    """
    if not clone.is_ours or not _may_have_any(clone):
        return
    inner = present(clone)
    paths = [_shown(clone, submodule) for submodule in inner]
    wanted = {} if commit is None else pinned(clone.git, commit, paths)
    names = set() if commit is None else {one.name for one in declared(clone.git, commit).values()}
    for submodule, path in zip(inner, paths, strict=True):
        if path not in wanted:
            _remove_work_tree(clone, submodule, say)
    for module in list(modules(clone)):
        if module.relative_to(clone.git_dir / "modules").as_posix() not in names:
            _retire(clone, module, say)


def reset(clone: Clone, depth: int = 0) -> None:
    """Bring the submodules in use back to the commits that git's list of files has.

    What they ignore stays.

    Raises:
        WorkspaceError: one cannot be brought back.
    """
    if not _may_have_any(clone) or depth == DEEPEST:
        return
    if depth == 0:
        repository_config.settle(clone.git_dir, is_ours=clone.is_ours)
    inner = present(clone)
    if not inner:
        return
    _refuse_strangers(clone, _in_index(clone.git))
    clone.git.run(
        *("submodule", "--quiet", "update", "--checkout", "--force", "--no-fetch"),
        action="clean the submodules",
    )
    for one in inner:
        one.git.run("clean", "--quiet", "-ffd", action=f"clean {_shown(clone, one)}")
        reset(one, depth + 1)


def _refuse_strangers(clone: Clone, paths: Iterable[str]) -> None:
    """Keep git from working in a repository elsewhere, whose settings are a task's.

    Raises:
        WorkspaceError: a submodule's ``.git`` leads there.
    """
    for path in paths:
        place = clone.directory / path
        if os.path.lexists(place / ".git") and not _belongs(clone, place):
            raise errors.WorkspaceError(
                f"the submodule {path} is said to be the work tree of another repository",
                advice=f"Look at {place / '.git'}; without it, git submodule update makes it anew",
            )


def bring(clone: Clone, say: Say, depth: int = 0) -> None:
    """Check out the submodules that HEAD has, at the commits that it pins.

    Raises:
        WorkspaceError: one cannot be brought.
    """
    if not (clone.directory / ".gitmodules").is_file():
        return
    if depth == DEEPEST:
        say(f"leaves out submodules that are more than {DEEPEST} levels deep")
        return
    all_declared = declared(clone.git, "HEAD")
    commits = pinned(clone.git, "HEAD", list(all_declared))
    wanted = [one for one in all_declared.values() if one.path in commits and one.update != "none"]
    if not wanted:
        return
    paths = [one.path for one in wanted]
    for one in wanted if clone.is_ours else ():
        _clear_place(clone, one, say)
    _refuse_strangers(clone, paths)
    clone.git.run("submodule", "--quiet", "sync", "--", *paths, action="read the submodules")
    try:
        _update(clone, paths)
    except GitError as exc:
        if exc.problem in _NOT_THE_CLONE:
            raise
        for one in wanted:
            _bring_one(clone, one, commits[one.path], say)
    for one in wanted:
        inner = Clone(
            git=clone.git.at(clone.directory / one.path), url=clone.url, is_ours=clone.is_ours
        )
        lfs.bring(inner.git, say)
        bring(inner, say, depth + 1)


def _bring_one(clone: Clone, one: Submodule, commit: str, say: Say) -> None:
    """Bring one submodule, from a new clone where git cannot use the one that is there."""
    try:
        _update(clone, [one.path])
        return
    except GitError as exc:
        if _LACKING.search(exc.message):
            raise _lacks(one, commit) from None
        module = clone.git_dir / "modules" / one.name
        if not clone.is_ours or exc.problem in _NOT_THE_CLONE or not module.is_dir():
            raise
        say(f"the clone of the submodule {one.path} cannot be used ({exc.message}): clones it anew")
        aside.move(clone, clone.directory / one.path, say)
        _move_module_aside(clone, module, say)
    try:
        _update(clone, [one.path])
    except GitError as exc:
        raise (_lacks(one, commit) if _LACKING.search(exc.message) else exc) from None


def _update(clone: Clone, paths: list[str]) -> None:
    # --checkout: the repository's settings, which tasks can write, may name a program instead.
    clone.git.run(
        *("submodule", "--quiet", "update", "--init", "--checkout", "--force", "--", *paths),
        action=f"bring the submodule {paths[0]}" if len(paths) == 1 else "bring the submodules",
    )


def _lacks(one: Submodule, commit: str) -> errors.WorkspaceError:
    return errors.WorkspaceError(
        f"cannot bring the submodule {one.path}: {url.without_secrets(one.url)} does not have "
        f"its commit {commit}",
        advice="Push that commit there, or pin the submodule to one that is there",
    )


def _each(clone: Clone, act: Callable[[Clone], None], say: Say, depth: int = 0) -> None:
    """Act on each submodule, the innermost first."""
    if depth == DEEPEST:
        return
    for inner in present(clone):
        _each(inner, act, say, depth + 1)
        act(inner)


def _set_aside(clone: Clone, inner: Clone, name: str, reason: str, say: Say) -> None:
    path = _shown(clone, inner)
    try:
        kept = work_tree.set_aside(inner, name, reason)
    except GitError as exc:
        if not clone.is_ours or exc.problem is Problem.STOPPED:
            raise
        say(f"the clone of the submodule {path} cannot be used: {exc.message}")
        git_dir = inner.git_dir
        aside.move(clone, inner.directory, say)
        if git_dir != inner.directory / ".git":
            _move_module_aside(clone, git_dir, say)
        return
    if kept.changes is not None:
        say(f"set aside what was uncommitted in {path}: git -C {path} stash apply {kept.changes}")
    if kept.commits is not None:
        say(f"kept commits of {path} that no branch had as {kept.commits}")


def _clear_place(clone: Clone, one: Submodule, say: Say) -> None:
    """Move away what keeps git from cloning a submodule into its place."""
    place = clone.directory / one.path
    if _belongs(clone, place) or not place.is_dir() or not any(place.iterdir()):
        return
    aside.move(clone, place, say)


def _remove_work_tree(clone: Clone, submodule: Clone, say: Say) -> None:
    place = submodule.directory
    if submodule.git_dir == place / ".git":  # with all its commits
        aside.move(clone, place, say)
        return
    try:
        file_trees.remove(place)
    except OSError:  # another user's files
        aside.move(clone, place, say)


def _retire(clone: Clone, module: Path, say: Say) -> None:
    """Take away the repository of a submodule that is gone: its name may come back as another's."""
    if not aside.holds_commits(clone, module):
        with contextlib.suppress(OSError):
            file_trees.remove(module)
    if module.exists():
        _move_module_aside(clone, module, say)


def _move_module_aside(clone: Clone, module: Path, say: Say) -> None:
    moved = aside.move(clone, module, say)
    if moved is not None:
        # Its files are not where it says; with that, no git command would work in it.
        clone.git.run(
            *("config", "-f", str(moved / "config"), "--unset-all", "core.worktree"),
            action="make the repository usable where it is",
            ok=False,
        )


def _may_have_any(clone: Clone) -> bool:
    return (clone.directory / ".gitmodules").exists() or (clone.git_dir / "modules").is_dir()


def _in_index(git: Git) -> Iterator[str]:
    result = git.run("ls-files", "-z", "--stage", action="list the submodules", ok=False)
    for entry in records(result.output):
        if entry.startswith(GITLINK):
            yield entry.partition("\t")[2]


def _work_tree(module: Path) -> Path | None:
    """Return where a submodule's repository says that its files are."""
    try:
        text = (module / "config").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    found = re.search(r'^\s*worktree\s*=\s*"?(.*?)"?\s*$', text, re.MULTILINE)
    return None if found is None else Path(os.path.normpath(module / found[1]))


def _belongs(clone: Clone, place: Path) -> bool:
    """Return whether a directory is the work tree of a submodule of this clone, and no other's."""
    if not os.path.lexists(place / ".git"):
        return False
    git_dir = link.follow(place)
    own = git_dir == place / ".git" or git_dir.is_relative_to(clone.git_dir / "modules")
    is_its = link.leads_back(place, git_dir, clone.directory)
    return own and is_its and (git_dir / "HEAD").is_file()


def _shown(clone: Clone, submodule: Clone) -> str:
    return submodule.directory.relative_to(clone.directory).as_posix()
