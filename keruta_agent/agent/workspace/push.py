"""The push of a task's branch, and of nothing else, without losing what others pushed there."""

from __future__ import annotations

import dataclasses
import functools
import time
from typing import Final

from keruta_agent.agent.workspace import branch as branches
from keruta_agent.agent.workspace.repository_hooks import RepositoryHooks
from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff
from keruta_agent.git import push as git_push
from keruta_agent.git import remote, work_tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Say
from keruta_agent.git.commit import RUNNER_TRAILER, signed_by_somebody
from keruta_agent.git.push import FETCHED, PushPolicy
from keruta_agent.git.retry import Retry
from keruta_agent.git.scan import Limits
from keruta_agent.git.submodules.push import Delivery
from keruta_agent.git.url import REMOTE

#: How often a push is tried that somebody else was faster with, or whose connection broke off.
ATTEMPTS: Final = 6
#: Seconds before the second try; doubling, and spread so that two agents do not meet again.
BACKOFF: Final = Backoff(first_s=0.2, longest_s=3.2, jitter=0.5)
#: Ways in which git says that the server's branch has moved on.
_MOVED_ON: Final = ("non-fast-forward", "fetch first", "stale info", "failed to update ref")
_RACE: Final = ("cannot lock ref", "reference already exists", "incorrect old value")


class PushRefusedError(errors.WorkspaceError):
    """The server does not take the task's branch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """Where to push."""

    branch: str
    #: Branches that must never be pushed to: the default branch and the session's.
    protected: frozenset[str]
    #: Whether what the agent itself pushed there before may be overwritten.
    force: bool = False


def push(
    clone: Clone,
    target: Target,
    limits: Limits,
    say: Say,
    hooks: RepositoryHooks | None = None,
) -> str:
    """Push HEAD to the task's branch and return the commit that is there now.

    Raises:
        WorkspaceError: it must not or cannot be pushed.
    """
    if target.branch in target.protected or not branches.is_ours(target.branch):
        raise PushRefusedError(f"{target.branch} is no branch of a task: it is not pushed to")
    (hooks or RepositoryHooks(clone=clone, run_hook=None, say=say)).run(
        *("pre-push", REMOTE, clone.url.address), stdin=lambda: _announced(clone, target)
    )
    policy = PushPolicy(
        limits=limits,
        known=(*FETCHED, f"--glob={work_tree.KEPT}/tags"),
        delivery=Delivery(branch=target.branch, limits=limits, say=say),
        remembers=True,
        overwrites=target.force,
    )
    retry = Retry(attempts=ATTEMPTS, pause=_wait, say=say)
    for attempt in range(ATTEMPTS):
        commit = clone.git.text("rev-parse", "HEAD", action="find the commit")
        attempted = functools.partial(git_push.push, clone, commit, target.branch, policy)
        refusal, _ = retry.run(attempted)
        if not refusal:
            return commit
        if not _has_moved_on(refusal) or attempt == ATTEMPTS - 1:
            raise PushRefusedError(
                f"{clone.url} refuses the branch {target.branch}: {refusal}",
                advice="The commits are in the workspace's branch of this name",
            )
        say(f"somebody else pushed to {target.branch}: takes that in and tries again")
        _take_in(clone, target)
        # What was seen there is part of the own branch now.
        policy = dataclasses.replace(policy, overwrites=False)
        _wait(attempt)
    raise PushRefusedError(f"{clone.url} refuses the branch {target.branch}")


def _announced(clone: Clone, target: Target) -> bytes:
    """Return what a pre-push hook reads: what is pushed from where to where."""
    destination = f"refs/heads/{target.branch}"
    commit = clone.git.text("rev-parse", "HEAD", action="find the commit")
    there = clone.git.find(
        *("rev-parse", "--verify", "--quiet", f"refs/remotes/{REMOTE}/{target.branch}")
    )
    return f"{destination} {commit} {destination} {there or '0' * len(commit)}\n".encode()


def by_runner(clone: Clone) -> tuple[str, str] | None:
    """Return the branch that the Agent Runner has pushed from here, and its commit.

    None when it has not, or when something was changed since.
    """
    git = clone.git
    branch = git.find("symbolic-ref", "--quiet", "--short", "HEAD")
    if branch is None or branches.is_ours(branch):
        return None
    tip = git.find("rev-parse", "--verify", "--quiet", f"refs/remotes/{REMOTE}/{branch}")
    if tip is None or tip != git.find("rev-parse", "HEAD"):
        return None
    trailer = f"--format=%(trailers:key={RUNNER_TRAILER},valueonly)"
    if not git.find("log", "-1", trailer, tip) or work_tree.look(git).changes:
        return None
    return branch, tip


def _has_moved_on(refusal: str) -> bool:
    """Return whether the server refuses because its branch is ahead of the own one."""
    return any(sign in refusal for sign in (*_MOVED_ON, *_RACE))


def _take_in(clone: Clone, target: Target) -> None:
    """Fetch the server's branch and put our commits on top of it.

    Raises:
        PushRefusedError: they contradict each other.
    """
    git = clone.git
    tracking = f"refs/remotes/{REMOTE}/{target.branch}"
    spec = f"+refs/heads/{target.branch}:{tracking}"
    remote.fetch(git, [spec], action=f"fetch {target.branch} from {clone.url}")
    if not signed_by_somebody(git).holds("rebase", "--quiet", tracking):
        git.run("rebase", "--abort", action="end the rebase", ok=False)
        raise PushRefusedError(
            f"what somebody else pushed to {target.branch} contradicts the task's changes",
            advice=f"Merge {tracking} into the workspace's branch of this name by hand",
        )


def _wait(attempt: int) -> None:
    time.sleep(BACKOFF.delay_s(attempt + 1))
