"""What a clone holds, for a person, and its clean-up when they ask for that."""

from __future__ import annotations

import dataclasses
import time
from typing import Final

from keruta_agent.agent.workspace import branch as branches
from keruta_agent.core import errors, file_trees
from keruta_agent.git import work_tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say
from keruta_agent.git.repository import maintenance
from keruta_agent.git.submodules import work_trees as submodules
from keruta_agent.git.url import REMOTE

#: What was set aside, by the beginning of its ref.
_KEPT: Final = ("stash", "failed", "detached", "replaced")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What there is in a clone."""

    branch: str | None
    commit: str | None
    #: Entries that are not committed.
    uncommitted: int
    unfinished: str | None
    #: Refs of what was set aside.
    kept: list[str]
    #: Branches of tasks, and submodules, with commits that the server does not have.
    unpushed: list[str]
    #: Branches of tasks whose commits the server has, on whatever branch: also those without any.
    pushed: list[str]
    stale_locks: list[str]

    @property
    def is_replaceable(self) -> bool:
        """Whether nothing would be lost with the clone."""
        return not (self.uncommitted or self.unfinished or self.kept or self.unpushed)


def survey(clone: Clone) -> Survey:
    """Return what there is in a clone."""
    git, git_dir = clone.git, clone.directory / ".git"
    kept = git.text(
        *("for-each-ref", "--format=%(refname)", *(f"{work_tree.KEPT}/{kind}" for kind in _KEPT)),
        action="list what was set aside",
    ).split()
    own = _task_branches(git)
    unpushed = [name for name in own if not _has_arrived(git, name)]
    return Survey(
        branch=git.find("symbolic-ref", "--quiet", "--short", "HEAD"),
        commit=git.find("rev-parse", "--verify", "--quiet", "HEAD^{commit}"),
        uncommitted=len(work_tree.look(git).changes) + len(submodules.uncommitted(clone)),
        unfinished=work_tree.unfinished(git_dir),
        kept=kept,
        unpushed=[*unpushed, *(f"submodule {name}" for name in submodules.only_here(clone))],
        pushed=[name for name in own if name not in unpushed],
        stale_locks=[
            path.relative_to(git_dir).as_posix() for path in maintenance.stale_locks(git_dir)
        ],
    )


def _task_branches(git: Git) -> list[str]:
    names = git.text(
        *("for-each-ref", "--format=%(refname:short)", f"refs/heads/{branches.PREFIX}*"),
        action="list the branches of tasks",
    )
    return names.split()


def _has_arrived(git: Git, name: str) -> bool:
    """Return whether the server had all commits of a branch when it was asked last."""
    left = git.text(
        *("rev-list", "--max-count=1", f"refs/heads/{name}", "--not", f"--remotes={REMOTE}"),
        action=f"look at {name}",
    )
    return not left


def tidy(clone: Clone, say: Say, *, ignored: bool = False) -> None:
    """Set aside what is uncommitted, and remove the branches whose commits the server has.

    With ``ignored`` also the files that git ignores, such as builds.

    Raises:
        WorkspaceError: it cannot be done, or must not in a clone that is not ours.
    """
    git = clone.git
    for lock in maintenance.remove_locks(clone.directory / ".git") if clone.is_ours else ():
        say(f"removed the lock {lock}, which nobody held any more")
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    ref = submodules.set_aside(
        clone, f"stash/{stamp}-tidied", "found uncommitted when it was tidied", say
    )
    if ref is not None:
        say(f"set aside what was uncommitted: git stash apply {ref}")
    found = survey(clone)
    if found.pushed and found.branch in found.pushed:
        git.run("checkout", "--quiet", "--detach", action="leave the branch")
    for name in found.pushed:
        git.run("branch", "--quiet", "-D", name, action=f"remove {name}")
        say(f"removed the branch {name}: the server has all its commits")
    if ignored:
        git.run("clean", "--quiet", "-d", "--force", "-X", action="remove ignored files")
        say("removed the files that git ignores")


def remove(clone: Clone, *, force: bool = False) -> None:
    """Remove a clone that the agent made.

    Raises:
        WorkspaceError: somebody else made it, or something in it would be lost.
    """
    if not clone.is_ours:
        raise errors.WorkspaceError(
            f"{clone.directory} was not made by the agent", advice="Remove it yourself if you wish"
        )
    found = survey(clone)
    if not found.is_replaceable and not force:
        raise errors.WorkspaceError(
            f"{clone.directory} holds what is nowhere else: {', '.join(_losses(found))}",
            advice="See keruta workspace status; --force removes it all the same",
        )
    file_trees.remove(clone.directory)


def _losses(found: Survey) -> list[str]:
    counts = {
        "uncommitted": found.uncommitted,
        "unfinished": 1 if found.unfinished else 0,
        "set aside": len(found.kept),
        "branches not pushed": len(found.unpushed),
    }
    return [f"{number} {what}" for what, number in counts.items() if number]
