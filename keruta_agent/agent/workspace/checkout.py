"""A task's way onto its branch: the session's ref, and what earlier runs left."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Final, Self

from keruta_agent.agent.workspace import branch as branches
from keruta_agent.agent.workspace import exclude, obstacles
from keruta_agent.core import file_trees
from keruta_agent.git import checkout, remote
from keruta_agent.git.checkout import CheckoutPolicy, Start
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Say
from keruta_agent.git.commit import TASK_TRAILER
from keruta_agent.git.remote import Remote
from keruta_agent.git.repository import maintenance
from keruta_agent.git.submodules import work_trees as submodules
from keruta_agent.git.url import REMOTE

#: Commits of a branch that are asked for whose they are.
_ASKED: Final = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckoutRequest:
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
        """Return the stored form."""
        return json.dumps({**dataclasses.asdict(self), "directory": str(self.directory)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the stored form.

        Raises:
            ValueError: it is none.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            return cls(**{**values, "directory": Path(values["directory"])})
        except (TypeError, KeyError) as exc:
            raise ValueError(f"no stored place: {exc}") from exc


def prepare(clone: Clone, request: CheckoutRequest, say: Say) -> Place:
    """Check the branch of a task out, clean.

    Raises:
        WorkspaceError: the server, the ref or the work tree does not allow it.
    """
    git_dir = clone.directory / ".git"
    for lock in maintenance.remove_locks(git_dir) if clone.is_ours else ():
        say(f"removed the lock {lock}, which nobody held any more")
    if clone.is_ours:
        clone = _whole(clone, say)
    for directory in request.excluded:
        exclude.add(git_dir, PurePath(directory))
    ref = remote.check(request.ref)
    named = _name(clone, request, ref)
    base = remote.bring(clone, named.server, ref, named.known, say)
    _set_aside(clone, request, say)
    start = _start(clone, request, named, base, say)
    policy = _OURS if clone.is_ours else _THEIRS
    beginning = Start(branch=named.branch, commit=start, former=named.local)
    checkout.check_out(clone, beginning, policy, say)
    where = ref or named.server.default_branch or "HEAD"
    say(f"on branch {named.branch}, from {where} at {(base or '-')[:12]}")
    return Place(
        directory=clone.directory,
        address=clone.url.address,
        branch=named.branch,
        base=base,
        start=start,
        pushed=named.pushed,
        ref=ref,
        default_branch=named.server.default_branch,
    )


def _whole(clone: Clone, say: Say) -> Clone:
    """Undo what a task did to have git see a part of the files only."""
    file_trees.remove(clone.directory / ".git" / "info" / "sparse-checkout")
    git = clone.git.with_settings(("core.sparseCheckout", "false"))
    if number := maintenance.unhide(git):
        files = "1 file" if number == 1 else f"{number} files"
        say(f"looks again at {files} that a task had hidden from git")
    return dataclasses.replace(clone, git=git)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Named:
    """The branch of a task, and what is known of it."""

    branch: str
    server: Remote
    #: Commits of the refs that were here before anything was fetched, by their full names.
    known: Mapping[str, str]

    @property
    def pushed(self) -> str | None:
        """Commit of the branch at the server."""
        return self.server.branch(self.branch)

    @property
    def local(self) -> str | None:
        """Commit of the branch here."""
        return self.known.get(f"refs/heads/{self.branch}")


def _name(clone: Clone, request: CheckoutRequest, ref: str) -> _Named:
    """Return the name of the task's branch; another one if a different task has it."""
    named = _ask(clone, request, ref, is_taken=False)
    if any(_is_others(clone, tip, request.task_id) for tip in (named.pushed, named.local) if tip):
        named = _ask(clone, request, ref, is_taken=True)
    return named


def _ask(clone: Clone, request: CheckoutRequest, ref: str, *, is_taken: bool) -> _Named:
    """Ask the server and the clone for the task's branch and the session's, and fetch the first."""
    branch = branches.name_for(request.session_id, request.task_id, is_taken=is_taken)
    server = remote.ask(clone, branch, ref=ref)
    base = ref or server.default_branch or branch
    known = remote.commits_of(
        clone.git,
        *(f"refs/heads/{branch}", f"refs/remotes/{REMOTE}/{branch}"),
        f"refs/remotes/{REMOTE}/{base}",
    )
    if (pushed := server.branch(branch)) is not None:
        remote.fetch_branches(clone, {branch: pushed}, known)
    return _Named(branch=branch, server=server, known=known)


def _is_others(clone: Clone, tip: str, task_id: str) -> bool:
    """Return whether a branch bears commits of another task, and none of this one."""
    found = clone.git.find(
        *("log", f"--max-count={_ASKED}", "--first-parent"),
        *(f"--format=%(trailers:key={TASK_TRAILER},valueonly)", tip, "--not"),
        f"--exclude={REMOTE}/{branches.PREFIX}*",
        f"--remotes={REMOTE}",
    )
    tasks = set((found or "").split())
    return bool(tasks) and task_id not in tasks


def _set_aside(clone: Clone, request: CheckoutRequest, say: Say) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    reason = f"found uncommitted before task {request.task_id}"
    ref = submodules.set_aside(clone, f"stash/{stamp}-{request.run_uid}", reason, say)
    if ref is not None:
        say(
            f"set aside what was uncommitted in {clone.directory}: "
            f"bring it back with: git stash apply {ref}"
        )


def _start(
    clone: Clone, request: CheckoutRequest, named: _Named, base: str | None, say: Say
) -> str | None:
    """Return the commit from which the run starts."""
    local, pushed = named.local, named.pushed
    start = base
    if request.goes_on and pushed is not None:
        is_ahead = local is not None and remote.is_ancestor(clone.git, pushed, local)
        start = local if is_ahead else pushed
    elif request.goes_on and local is not None:
        start = local
    if start != base:
        say(f"goes on with what an earlier run left on {named.branch}")
    return start


def _make_room(clone: Clone, branch: str, start: str, say: Say) -> None:
    file_trees.open_up(clone.directory)
    obstacles.clear(clone, branch, start, say)


#: In a clone that the agent made, what is in the way is moved aside; in others it stays.
_OURS: Final = CheckoutPolicy(make_room=_make_room)
_THEIRS: Final = CheckoutPolicy()
