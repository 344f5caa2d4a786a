"""Pushes what a run has committed, if others can do something with it.

A branch that points at a submodule's commit which nobody can get, or holds a large file as a plain
one, is refused: the model's tests can make both.
"""

from __future__ import annotations

import sys
from typing import Final

from keruta_agent import errors
from keruta_agent.git import lfs, scan
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git
from keruta_agent.git.notes import Notes
from keruta_agent.git.problems import error_from
from keruta_agent.git.scan import Limits
from keruta_agent.git.submodules import push as submodule_push
from keruta_agent.git.url import RepositoryUrl, parse
from keruta_agent.runner.repository import REMOTE, remote_url
from keruta_agent.workspace import push as refusals

#: The runner has bounds and secrets of its own; of files for Git LFS it has none.
_NO_LIMITS: Final = Limits(largest_file=sys.maxsize, holds_secret=lambda _content: False)
#: Commits that came from the server, as options of ``rev-list``.
_KNOWN: Final = (f"--remotes={REMOTE}",)


def say_nothing(_message: str) -> None:
    """Nobody follows what becomes of submodules."""


def clone_of(git: Git, url: RepositoryUrl | None = None) -> Clone:
    """Return the clone in git's directory, which may be a person's."""
    directory = git.directory
    is_ours = Notes(git_dir=directory / ".git").is_ours
    return Clone(git=git, url=url or parse(str(directory)), is_ours=is_ours)


def _check(git: Git, commit: str) -> None:
    """Make sure that others can check the branch out, and get its large files.

    Raises:
        WorkspaceError: they could not, or the server takes none of them.
    """
    clone = clone_of(git, remote_url(git))
    submodule_push.check_pinned(clone, commit, _KNOWN)
    scan.check_commits(git, _NO_LIMITS, commit, *_KNOWN)
    lfs.push(clone, REMOTE, commit)


def push(git: Git, commit: str, branch: str) -> None:
    """Pushes once.

    Raises:
        GitError: the server cannot be reached.
        WorkspaceError: it does not take the branch.
    """
    action = f"push {branch}"
    _check(git, commit)
    spec = f"{commit}:refs/heads/{branch}"
    result = git.run("push", "--quiet", "--porcelain", REMOTE, spec, action=action, ok=False)
    if result.code == 0:
        return
    refusal = refusals.words(result)
    if not refusal:
        raise error_from(action, git.redact(f"{result.complaints}\n{result.text}"))
    raise errors.WorkspaceError(
        f"the server refuses the branch {branch}: {git.redact(refusal)}",
        advice="If somebody else has pushed there, run the task again: it goes on from that",
    )
