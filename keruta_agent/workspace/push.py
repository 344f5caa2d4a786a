"""Pushes a task's branch, and nothing else, without losing what somebody else pushed there."""

from __future__ import annotations

import dataclasses
import time
from typing import Final

from keruta_agent import errors
from keruta_agent.backoff import Backoff
from keruta_agent.git import lfs, scan
from keruta_agent.git import work_tree as tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Result, Say
from keruta_agent.git.problems import TRANSIENT, GitError, Problem, error_from
from keruta_agent.git.scan import Limits
from keruta_agent.git.submodules import push as submodule_push
from keruta_agent.git.submodules.push import Delivery
from keruta_agent.git.url import REMOTE
from keruta_agent.workspace import branch as branches
from keruta_agent.workspace.checkout import RUNNER_TRAILER
from keruta_agent.workspace.repository_hooks import RepositoryHooks

#: How often a push is tried that somebody else was faster with, or whose connection broke off.
ATTEMPTS: Final = 6
#: Seconds before the second try; doubling, and spread so that two agents do not meet again.
BACKOFF: Final = Backoff(first_s=0.2, longest_s=3.2, jitter=0.5)
#: Ways in which git says that the server's branch has moved on.
_MOVED_ON: Final = ("non-fast-forward", "fetch first", "stale info", "failed to update ref")
_RACE: Final = ("cannot lock ref", "reference already exists", "incorrect old value")
#: Commits that came from the server, as options of ``rev-list``.
_KNOWN: Final = (f"--remotes={REMOTE}", f"--glob={tree.KEPT}/tags")


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
    """Pushes HEAD to the task's branch and returns the commit that is there now.

    Raises:
        WorkspaceError: it must not or cannot be pushed.
    """
    if target.branch in target.protected or not branches.is_ours(target.branch):
        raise PushRefusedError(f"{target.branch} is no branch of a task: it is not pushed to")
    delivery = Delivery(branch=target.branch, limits=limits, say=say)
    (hooks or RepositoryHooks(clone=clone, run_hook=None, say=say)).run(
        *("pre-push", REMOTE, clone.url.address), stdin=lambda: _announced(clone, target)
    )
    for attempt in range(ATTEMPTS):
        commit = clone.git.text("rev-parse", "HEAD", action="find the commit")
        try:
            _check(clone, limits, commit)
            submodule_push.push_pinned(clone, commit, _KNOWN, delivery)
            lfs.push(clone, REMOTE, commit)
            result = _try(clone, target, commit)
        except GitError as exc:
            if exc.problem not in TRANSIENT or attempt == ATTEMPTS - 1:
                raise
            say(f"{exc.message}; tries again")
            _wait(attempt)
            continue
        if result.code == 0:
            return commit
        reason = _refusal(result)
        if reason is None or attempt == ATTEMPTS - 1:
            raise PushRefusedError(
                f"{clone.url} refuses the branch {target.branch}: {reason or words(result)}",
                advice="The commits are in the workspace's branch of this name",
            )
        say(f"somebody else pushed to {target.branch}: takes that in and tries again")
        _take_in(clone, target)
        # What we had seen there is part of ours now.
        target = dataclasses.replace(target, force=False)
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
    """Returns the branch that the Agent Runner has pushed from here, and its commit.

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
    if not git.find("log", "-1", trailer, tip) or tree.look(git).changes:
        return None
    return branch, tip


def _check(clone: Clone, limits: Limits, commit: str) -> None:
    scan.check_commits(clone.git, limits, commit, *_KNOWN)


def _try(clone: Clone, target: Target, commit: str) -> Result:
    """Pushes once; a refusal is a result, everything else that goes wrong an error."""
    destination = f"refs/heads/{target.branch}"
    # Only over what we pushed ourselves: else a person's commit on top of it would be lost.
    own = clone.git.find("rev-parse", "--verify", "--quiet", pushed_ref(target.branch))
    force = [f"--force-with-lease={destination}:{own}"] if target.force and own else []
    action = f"push {target.branch} to {clone.url}"
    result = clone.git.run(
        *("push", "--quiet", "--porcelain", *force, REMOTE, f"{commit}:{destination}"),
        action=action,
        ok=False,
    )
    if result.code != 0 and not words(result):
        raise error_from(action, f"{result.complaints}\n{result.text}")
    if result.code == 0:
        refs = (f"refs/remotes/{REMOTE}/{target.branch}", pushed_ref(target.branch))
        clone.git.run(
            *("update-ref", "--stdin"),
            stdin="".join(f"update {ref} {commit}\n" for ref in refs).encode(),
            action="note what was pushed",
        )
    return result


def words(result: Result) -> str:
    """Returns the server's words for a refused branch; empty when it did not come to that."""
    for line in result.text.splitlines():
        if line.startswith("!"):
            said = line.rpartition("\t")[2]
            remote = [
                line.removeprefix("remote:").strip()
                for line in result.complaints.splitlines()
                if line.startswith("remote:")
            ]
            return " ".join([said, *filter(None, remote)])[:300]
    return ""


def _refusal(result: Result) -> str | None:
    """Returns why the server's branch is ahead of ours, None when it refuses for another reason."""
    said = words(result)
    return said if any(sign in said for sign in (*_MOVED_ON, *_RACE)) else None


def _take_in(clone: Clone, target: Target) -> None:
    """Fetches the server's branch and puts our commits on top of it.

    Raises:
        PushRefusedError: they contradict each other.
    """
    git = clone.git
    tracking = f"refs/remotes/{REMOTE}/{target.branch}"
    git.run(
        *("fetch", "--quiet", "--no-tags", REMOTE, f"+refs/heads/{target.branch}:{tracking}"),
        action=f"fetch {target.branch} from {clone.url}",
    )
    identity = git.with_variables(tree.fallback_identity(git))
    if identity.run("rebase", "--quiet", tracking, action="rebase", ok=False).code != 0:
        git.run("rebase", "--abort", action="end the rebase", ok=False)
        raise PushRefusedError(
            f"what somebody else pushed to {target.branch} contradicts the task's changes",
            advice=f"Merge {tracking} into the workspace's branch of this name by hand",
        )


def _wait(attempt: int) -> None:
    time.sleep(BACKOFF.delay_s(attempt + 1))


def pushed_ref(branch: str) -> str:
    """Returns the ref that notes what the agent itself pushed to a branch last."""
    return f"{tree.KEPT}/pushed/{branch}"


def is_stopped(exc: errors.KerutaError) -> bool:
    """Tells whether an error means that somebody wanted git stopped."""
    return isinstance(exc, GitError) and exc.problem is Problem.STOPPED
