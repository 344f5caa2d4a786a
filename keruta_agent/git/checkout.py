"""The way of a clone onto a branch, clean, without losing what was there.

What each user of the driver does otherwise is its policy: the agent moves out of the way what a
checkout would overwrite, the Agent Runner overwrites what it has set aside before, and a slot of
the pool is empty anyway.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from keruta_agent.git import lfs, remote, work_tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say
from keruta_agent.git.problems import NOT_LOCAL, GitError, Problem, error_from
from keruta_agent.git.retry import ONCE, Retry
from keruta_agent.git.submodules import work_trees as submodules

#: Makes room for a branch and a commit in a clone.
MakeRoom = Callable[[Clone, str, str, Say], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckoutPolicy:
    """How a branch is checked out."""

    #: The ref below ``refs/keruta`` for commits of the branch that it does not go on from.
    replaced: str = "replaced/{branch}/{commit}"
    #: Whether files in the way are overwritten; what is not committed was set aside before.
    overwrites: bool = False
    #: Makes room when git refuses the branch; None to leave everything as it is.
    make_room: MakeRoom | None = None
    #: Whether untracked files are removed afterwards, and repositories among them.
    removes_untracked: bool = False
    #: Whether submodules and large files are brought, and how often that is tried; None for not.
    parts: Retry | None = ONCE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """A branch to check out."""

    branch: str
    #: Where it is to begin; None in a repository without commits.
    commit: str | None
    #: Where the branch of this name is by now; None where there is none.
    former: str | None = None


def check_out(clone: Clone, start: Start, policy: CheckoutPolicy, say: Say) -> None:
    """Check a branch out.

    Raises:
        WorkspaceError: git cannot do it.
    """
    branch, commit = start.branch, start.commit
    if commit is None:
        submodules.make_way(clone, None, say)
        clone.git.run("symbolic-ref", "HEAD", f"refs/heads/{branch}", action=f"begin {branch}")
        return
    _keep_former(clone, start, policy, say)
    submodules.make_way(clone, commit, say)
    try:
        _switch(clone, branch, commit, overwrites=policy.overwrites)
    except GitError as exc:
        if policy.make_room is None or exc.problem in NOT_LOCAL:
            raise
        policy.make_room(clone, branch, commit, say)
        _switch(clone, branch, commit, overwrites=True)
    if policy.removes_untracked:
        clone.git.run("clean", "--quiet", "-ffd", action="clean the work tree")
    if policy.parts is not None:
        policy.parts.run(lambda: _bring_parts(clone, say))


def clear_branches(git: Git, branch: str, say: Say) -> None:
    """Rename the branches that exclude a new one in git.

    Raises:
        GitError: one cannot be moved.
    """
    for name in remote.in_the_way(git, f"refs/heads/{branch}"):
        commit = git.text("rev-parse", "--verify", name, action=f"find {name}")
        kept = f"{work_tree.KEPT}/replaced/{name.removeprefix('refs/heads/')}/{commit[:12]}"
        git.run("update-ref", kept, commit, action=f"keep {name}")
        if git.find("symbolic-ref", "--quiet", "HEAD") == name:
            git.run("update-ref", "--no-deref", "HEAD", commit, action=f"leave {name}")
        git.run("update-ref", "--no-deref", "-d", name, action=f"remove {name}")
        say(f"kept the branch {name}, which was in the way, as {kept}")


def _keep_former(clone: Clone, start: Start, policy: CheckoutPolicy, say: Say) -> None:
    """Name the commits of a former branch of this name that the new one does not hold."""
    former, commit = start.former, start.commit
    if former is None or commit is None or former == commit:
        return
    if remote.is_ancestor(clone.git, former, commit):
        return
    ref = f"{work_tree.KEPT}/{policy.replaced.format(branch=start.branch, commit=former[:12])}"
    clone.git.run("update-ref", ref, former, action=f"keep {start.branch}")
    say(f"kept what an earlier run had on {start.branch} as {ref}")


def _switch(clone: Clone, branch: str, start: str, *, overwrites: bool) -> None:
    action = f"check {branch} out"
    # A work tree that a script added beside may be on the branch: it is the task's all the same.
    others = ("--ignore-other-worktrees",) if clone.is_ours else ()
    force = ("--force",) if overwrites else ()
    result = clone.git.run(
        *("checkout", "--quiet", "--no-track", *others, *force, "-B", branch, start, "--"),
        action=action,
    )
    # Git only warns of files that it could not remove.
    if clone.is_ours and "unable to unlink" in result.complaints:
        raise error_from(action, result.complaints)


def _bring_parts(clone: Clone, say: Say) -> None:
    """Bring submodules and large files, where the repository has any."""
    try:
        submodules.bring(clone, say)
        lfs.bring(clone.git, say)
    except GitError as exc:
        if exc.problem is not Problem.OTHER:
            raise
        raise GitError(exc.message, Problem.PART, advice=exc.advice) from exc
