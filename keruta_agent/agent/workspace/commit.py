"""The commit of what a task has changed."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.agent.workspace.repository_hooks import RepositoryHooks
from keruta_agent.core import errors, file_trees
from keruta_agent.git import commit as commits
from keruta_agent.git import lfs, scan, work_tree
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Say
from keruta_agent.git.commit import TASK_TRAILER
from keruta_agent.git.scan import Limits
from keruta_agent.git.submodules import work_trees as submodules

_LONGEST_NAME: Final = 100
#: Bytes of a commit's message.
_LARGEST_MESSAGE: Final = 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Message:
    """What a commit says; its texts are redacted."""

    name: str
    task_id: str
    session_id: str
    run_uid: str
    #: What the script said about its end.
    body: str = ""

    def __str__(self) -> str:
        name = " ".join(self.name.split())[:_LONGEST_NAME] or "Task"
        subject = name if self.task_id in name else f"{name} ({self.task_id})"
        # A line of the body that looks like the agent's trailer would be taken for one.
        body = re.sub(r"(?m)^Keruta-", " Keruta-", self.body.strip())
        trailers = (
            f"{TASK_TRAILER}: {self.task_id}\n"
            f"Keruta-Session: {self.session_id}\n"
            f"Keruta-Run: {self.run_uid}"
        )
        return "\n\n".join(part for part in (subject, body, trailers) if part) + "\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiffStat:
    """How much was changed."""

    files: int
    insertions: int
    deletions: int

    def __str__(self) -> str:
        files = "1 file" if self.files == 1 else f"{self.files} files"
        return f"{files} changed, +{self.insertions} -{self.deletions}"


def commit_all(
    clone: Clone,
    place: Place,
    message: Message,
    limits: Limits,
    say: Say,
    hooks: RepositoryHooks | None = None,
) -> str | None:
    """Commit everything that is not ignored onto the task's branch, and return its commit.

    None in a repository that has none.

    Raises:
        WorkspaceError: something must not be committed, or cannot be.
    """
    git = clone.git
    for path in submodules.uncommitted(clone):
        say(f"does not commit what lies uncommitted in the submodule {path}: commit it there")
    found = work_tree.look(git)
    _return_to_branch(clone, place, found.branch, say)
    for path in found.nested:
        say(f"does not commit {path}: it is a repository itself")
    if not found.changes:
        return found.commit
    begun = work_tree.unfinished(clone.git_dir)
    if begun is not None:
        raise scan.RefusedError(
            f"the script left a {begun} unfinished", advice="Finish or abort it in the script"
        )
    commits.stage(git, found.nested)
    hooks = hooks or RepositoryHooks(clone=clone, run_hook=None, say=say)
    hooks.run("pre-commit")
    lfs.hand_over_staged(git)
    staged = scan.staged_changes(git, found.commit)
    try:
        scan.check(git, limits, staged)
    except scan.RefusedError:
        git.run("reset", "--quiet", action="take the changes back", ok=False)
        raise
    if not staged:
        return found.commit
    commits.signed_by_somebody(git).run(
        *("commit", "--quiet", "--cleanup=verbatim", "--file=-"),
        stdin=_text(clone, message, hooks),
        action="commit the changes",
    )
    hooks.run("post-commit")
    return git.text("rev-parse", "HEAD", action="find the commit")


def _text(clone: Clone, message: Message, hooks: RepositoryHooks) -> bytes:
    """Return what the commit says, as the repository's hooks have left it.

    Raises:
        WorkspaceError: they refuse it, or it cannot be read.
    """
    text = str(message).encode("utf-8", "surrogateescape")
    file = clone.git_dir / "COMMIT_EDITMSG"
    try:
        if hooks.run_hook is not None:
            file_trees.remove(file)
            file.write_bytes(text)
        was_run = hooks.run("prepare-commit-msg", str(file), "message")
        if not hooks.run("commit-msg", str(file)) and not was_run:
            return text
        if not file.is_file() or file.stat().st_size > _LARGEST_MESSAGE:
            raise errors.WorkspaceError("a hook left no message for the commit")
        return file.read_bytes()
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot use {file}: {exc.strerror}") from exc


def _return_to_branch(clone: Clone, place: Place, current: str | None, say: Say) -> None:
    """Move the task's branch to where the script has gone, if it went on from there.

    Raises:
        RefusedError: it went elsewhere, and what lies there is not for the task's branch.
    """
    git = clone.git
    if current == place.branch:
        return
    where = f"branch {current}" if current else "a detached HEAD"
    start = place.start
    if start is not None and not git.holds("merge-base", "--is-ancestor", start, "HEAD"):
        raise scan.RefusedError(
            f"the script left the repository on {where}, which does not hold {place.branch}",
            advice=f"Commit on {place.branch}, or end the script there",
        )
    # What the script had committed on the branch before it left it must stay there.
    tip = git.find("rev-parse", "--verify", "--quiet", f"refs/heads/{place.branch}")
    if tip is not None and not git.holds("merge-base", "--is-ancestor", tip, "HEAD"):
        raise scan.RefusedError(
            f"the script left the repository on {where}, without what it did on {place.branch}",
            advice=f"Merge it, or end the script on {place.branch}",
        )
    git.run("checkout", "--quiet", "--no-track", "-B", place.branch, action="return to the branch")
    say(f"the script ended on {where}: takes that for {place.branch}")


def diff_stat(clone: Clone, place: Place) -> DiffStat:
    """Return the difference between the task's branch and its base."""
    git = clone.git
    counting = ("diff", "--numstat", "--no-renames", "--ignore-submodules=dirty")
    # From where the two went apart; there need not be any such place.
    counted = git.find(*counting, f"{place.base}...HEAD", "--") if place.base else None
    if counted is None:
        before = place.base or commits.empty_tree(git)
        counted = git.text(*counting, before, "HEAD", "--", action="count the changes")
    counts = [line.split("\t")[:2] for line in counted.splitlines()]
    return DiffStat(
        files=len(counts),
        insertions=sum(int(added) for added, _ in counts if added.isdigit()),
        deletions=sum(int(deleted) for _, deleted in counts if deleted.isdigit()),
    )
