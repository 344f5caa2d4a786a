"""Pushes of a commit to a branch, if others can do something with it.

A branch that points at a submodule's commit which nobody can get, or that holds a large file as a
plain one, is refused here: whoever checks it out would be stuck.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from keruta_agent.git import lfs, scan, work_tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Result
from keruta_agent.git.problems import error_from
from keruta_agent.git.scan import Limits
from keruta_agent.git.submodules import push as submodule_push
from keruta_agent.git.submodules.push import Delivery
from keruta_agent.git.url import REMOTE

#: Commits that came from the server, as options of ``rev-list``.
FETCHED: Final = (f"--remotes={REMOTE}",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PushPolicy:
    """What is checked before a push, and what may be overwritten with it."""

    limits: Limits
    #: Commits that need no look, as options of ``rev-list``.
    known: tuple[str, ...] = FETCHED
    #: How submodules are pushed; None where their servers must have the commits already.
    delivery: Delivery | None = None
    #: Whether it is noted what was pushed, so that it may be overwritten later.
    remembers: bool = False
    #: Whether what was noted may be overwritten, if nobody else has pushed there since.
    overwrites: bool = False


def push(clone: Clone, commit: str, branch: str, policy: PushPolicy) -> str:
    """Push a commit; return the words in which the server refuses it, empty when it is there.

    Raises:
        RefusedError: it must not be pushed.
        GitError: the server cannot be reached.
    """
    changes = scan.new_changes(clone.git, commit, *policy.known)
    scan.check(clone.git, policy.limits, changes)
    if policy.delivery is None:
        submodule_push.check_pinned(clone, commit, changes)
    else:
        submodule_push.push_pinned(clone, commit, changes, policy.delivery)
    lfs.push(clone, REMOTE, commit)
    destination, action = f"refs/heads/{branch}", f"push {branch} to {clone.url}"
    result = clone.git.run(
        *("push", "--quiet", "--porcelain", *_force(clone, branch, policy), REMOTE),
        f"{commit}:{destination}",
        action=action,
        ok=False,
    )
    if result.code != 0:
        refusal = _words(result)
        if not refusal:
            raise error_from(action, f"{result.complaints}\n{clone.git.redact(result.text)}")
        return clone.git.redact(refusal)
    _note(clone, commit, branch, policy)
    return ""


def _force(clone: Clone, branch: str, policy: PushPolicy) -> list[str]:
    """Overwrite only what was pushed from here, so that no foreign commit is lost."""
    if not policy.overwrites:
        return []
    own = clone.git.find("rev-parse", "--verify", "--quiet", pushed_ref(branch))
    return [f"--force-with-lease=refs/heads/{branch}:{own}"] if own else []


def _note(clone: Clone, commit: str, branch: str, policy: PushPolicy) -> None:
    # Git does the first only where the clone follows all branches.
    refs = [f"refs/remotes/{REMOTE}/{branch}", *([pushed_ref(branch)] if policy.remembers else [])]
    clone.git.run(
        *("update-ref", "--stdin"),
        stdin="".join(f"update {ref} {commit}\n" for ref in refs).encode(),
        action="note what was pushed",
    )


def pushed_ref(branch: str) -> str:
    """Return the ref that notes what was pushed to a branch last."""
    return f"{work_tree.KEPT}/pushed/{branch}"


def _words(result: Result) -> str:
    """Return the server's words for a refused branch; empty when it did not come to that."""
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
