"""Brings a clone to the session's ref and onto the branch of a task."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path, PurePath
from typing import Any, Final, Self

from keruta_agent import file_trees
from keruta_agent.git import lfs
from keruta_agent.git import maintenance as repair
from keruta_agent.git import remote as refs
from keruta_agent.git import work_tree as tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Say
from keruta_agent.git.problems import NOT_LOCAL, GitError, Problem, error_from
from keruta_agent.git.submodules import work_trees as submodules
from keruta_agent.git.url import REMOTE
from keruta_agent.workspace import branch as branches
from keruta_agent.workspace import exclude, obstacles

#: Trailer of a commit that says for which task it was made.
TASK_TRAILER: Final = "Keruta-Task"
#: Trailer of a commit of the Agent Runner: which task asked for it, in which words.
RUNNER_TRAILER: Final = "Runner-Task"
#: Commits of a branch that are asked for whose they are.
_ASKED: Final = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What a task wants to work on."""

    session_id: str
    task_id: str
    #: Names the run in the refs of what is set aside.
    run_uid: str
    #: Branch, tag or commit of the session; empty for the default branch.
    ref: str = ""
    #: Whether a run goes on with what earlier runs of the task have left on its branch.
    goes_on: bool = True
    #: Paths inside the clone that are never to be committed.
    excluded: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a task works."""

    directory: Path
    #: Of the repository; holds no password.
    address: str
    branch: str
    #: Commit of the session's ref; None in a repository without commits.
    base: str | None
    #: Commit from which the run starts: the base, or what an earlier run left.
    start: str | None
    #: Commit of the task's branch at the server, as it was seen last.
    pushed: str | None
    ref: str
    default_branch: str | None

    def to_json(self) -> str:
        """Returns the stored form."""
        return json.dumps({**dataclasses.asdict(self), "directory": str(self.directory)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads the stored form.

        Raises:
            ValueError: it is none.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(**{**values, "directory": Path(values["directory"])})
        except (TypeError, KeyError) as exc:
            raise ValueError(f"no stored place: {exc}") from exc


def prepare(clone: Clone, wish: Wish, say: Say) -> Place:
    """Checks the branch of a task out, clean.

    Raises:
        WorkspaceError: the server, the ref or the work tree does not allow it.
    """
    git_dir = clone.directory / ".git"
    for lock in repair.remove_locks(git_dir) if clone.is_ours else ():
        say(f"removed the lock {lock}, which nobody held any more")
    if clone.is_ours:
        clone = _whole(clone, say)
    for directory in wish.excluded:
        exclude.add(git_dir, PurePath(directory))
    ref = refs.check(wish.ref)
    name, remote = _name(clone, wish, ref)
    base = refs.bring(clone, remote, ref, say)
    pushed = remote.branch(name)
    if pushed is not None:
        refs.fetch_branch(clone, name, pushed)
    _set_aside(clone, wish, say)
    start = _start(clone, wish, name, base, pushed, say)
    submodules.make_way(clone, start, say)
    _switch(clone, name, start, say)
    _extras(clone, say)
    say(f"on branch {name}, from {ref or remote.default_branch or 'HEAD'} at {(base or '-')[:12]}")
    return Place(
        directory=clone.directory,
        address=clone.url.address,
        branch=name,
        base=base,
        start=start,
        pushed=pushed,
        ref=ref,
        default_branch=remote.default_branch,
    )


def _whole(clone: Clone, say: Say) -> Clone:
    """Undo what a task did to have git see a part of the files only."""
    file_trees.remove(clone.directory / ".git" / "info" / "sparse-checkout")
    git = clone.git.with_settings(("core.sparseCheckout", "false"))
    if number := repair.unhide(git):
        files = "1 file" if number == 1 else f"{number} files"
        say(f"looks again at {files} that a task had hidden from git")
    return dataclasses.replace(clone, git=git)


def _name(clone: Clone, wish: Wish, ref: str) -> tuple[str, refs.Remote]:
    """Returns the name of the task's branch, and what the server says about it and the ref."""
    name = branches.name_for(wish.session_id, wish.task_id)
    remote = refs.ask(clone, ref, name)
    pushed = remote.branch(name)
    if pushed is not None:
        refs.fetch_branch(clone, name, pushed)
    tips = [pushed, clone.git.find("rev-parse", "--verify", "--quiet", f"refs/heads/{name}")]
    if any(tip is not None and _is_others(clone, tip, wish.task_id) for tip in tips):
        name = branches.name_for(wish.session_id, wish.task_id, is_taken=True)
        remote = refs.ask(clone, ref, name)
    return name, remote


def _is_others(clone: Clone, tip: str, task_id: str) -> bool:
    """Tells whether a branch bears commits of another task, and none of this one."""
    found = clone.git.find(
        *("log", f"--max-count={_ASKED}", "--first-parent"),
        *(f"--format=%(trailers:key={TASK_TRAILER},valueonly)", tip, "--not"),
        f"--exclude={REMOTE}/{branches.PREFIX}*",
        f"--remotes={REMOTE}",
    )
    tasks = set((found or "").split())
    return bool(tasks) and task_id not in tasks


def _set_aside(clone: Clone, wish: Wish, say: Say) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    reason = f"found uncommitted before task {wish.task_id}"
    ref = submodules.set_aside(clone, f"stash/{stamp}-{wish.run_uid}", reason, say)
    if ref is not None:
        say(
            f"set aside what was uncommitted in {clone.directory}: "
            f"bring it back with: git stash apply {ref}"
        )
    kept = tree.keep_head(clone)  # a script's
    if kept is not None:
        say(f"kept commits that no branch had as {kept}")


def _start(
    clone: Clone, wish: Wish, name: str, base: str | None, pushed: str | None, say: Say
) -> str | None:
    """Returns the commit from which the run starts; what it leaves behind is kept."""
    local = clone.git.find("rev-parse", "--verify", "--quiet", f"refs/heads/{name}")
    start = base
    if wish.goes_on and pushed is not None:
        is_ahead = local is not None and _is_ancestor(clone, pushed, local)
        start = local if is_ahead else pushed
    elif wish.goes_on and local is not None:
        start = local
    if start != base:
        say(f"goes on with what an earlier run left on {name}")
    if local is not None and start is not None and not _is_ancestor(clone, local, start):
        ref = f"{tree.KEPT}/replaced/{name}/{local[:12]}"
        clone.git.run("update-ref", ref, local, action=f"keep {name}")
        say(f"kept what an earlier run had on {name} as {ref}")
    return start


def _is_ancestor(clone: Clone, older: str, newer: str) -> bool:
    return clone.git.holds("merge-base", "--is-ancestor", older, newer)


def _switch(clone: Clone, name: str, start: str | None, say: Say) -> None:
    if start is None:
        clone.git.run("symbolic-ref", "HEAD", f"refs/heads/{name}", action=f"begin {name}")
        return
    try:
        _check_out(clone, name, start)
    except GitError as exc:
        if not clone.is_ours or exc.problem in NOT_LOCAL:
            raise
        file_trees.open_up(clone.directory)
        obstacles.clear(clone, name, start, say)
        _check_out(clone, name, start, "--force")


def _check_out(clone: Clone, name: str, start: str, *force: str) -> None:
    action = f"check {name} out"
    # A work tree that a script added beside may be on the branch: it is the task's all the same.
    options = ("--ignore-other-worktrees",) if clone.is_ours else ()
    result = clone.git.run(
        *("checkout", "--quiet", "--no-track", *options, *force, "-B", name, start, "--"),
        action=action,
    )
    # Git only warns of files that it could not remove.
    if clone.is_ours and "unable to unlink" in result.complaints:
        raise error_from(action, result.complaints)


def _extras(clone: Clone, say: Say) -> None:
    """Brings submodules and large files, where the repository has any."""
    try:
        submodules.bring(clone, say)
        lfs.bring(clone.git, say)
    except GitError as exc:
        if exc.problem is not Problem.OTHER:
            raise
        raise GitError(exc.message, Problem.PART, advice=exc.advice) from exc
