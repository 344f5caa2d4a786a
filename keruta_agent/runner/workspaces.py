"""Brings a workspace to where a run begins, and its change to where people find it.

What is committed is never what happens to lie in the work tree, but a tree of git's that was
written before the tests ran: what they leave there, commit or stage goes nowhere. The list of files
that it is made from is the run's own: in the repository's, tests can mark a file as one not to look
at, and what the model writes into it would be tested and not committed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from keruta_agent import errors
from keruta_agent.git import lfs
from keruta_agent.git import maintenance as repair
from keruta_agent.git import remote as refs
from keruta_agent.git import work_tree as trees
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, records
from keruta_agent.git.config import repository as repository_config
from keruta_agent.git.notes import Notes
from keruta_agent.git.problems import GitError, Problem
from keruta_agent.git.submodules import work_trees as submodules
from keruta_agent.git.url import parse
from keruta_agent.runner import branches, pushing
from keruta_agent.runner.clock import Clock
from keruta_agent.runner.config import RetryConfig
from keruta_agent.runner.pushing import clone_of, say_nothing
from keruta_agent.runner.repository import (
    MOST_S,
    REMOTE,
    Access,
    open_git,
    remote_url,
    retried,
)
from keruta_agent.runner_model import PushResult, Workspace
from keruta_agent.workspace import obstacles

#: Where commits of a branch are kept that a new run does not go on from.
KEPT = f"{trees.KEPT}/runner"


class WorkspaceManager:
    """Works with git in workspaces. It may be used for one run after the other."""

    def __init__(
        self,
        retry_config: RetryConfig | None = None,
        *,
        clock: Clock | None = None,
        access: Access | None = None,
        index: Path | None = None,
    ) -> None:
        """Takes how often the network is tried, and the access to the repository's server.

        ``index`` is where git's list of files is kept that no command of the run shall reach.
        """
        self._index = index
        self.retry_config = retry_config or RetryConfig()
        self._clock = clock
        self._access = access or Access()
        self._starts: dict[Path, tuple[str, str]] = {}

    def git(self, path: Path) -> Git:
        """Returns git in a workspace."""
        return open_git(path, clock=self.clock, access=self._access)

    @property
    def clock(self) -> Clock:
        """The run's clock; without one each step has time enough."""
        return self._clock or Clock(2 * MOST_S)

    def prepare_workspace(
        self, slot_path: Path, branch_name: str, base_branch: str | None = None
    ) -> Workspace:
        """Checks out the branch, new from the base branch or where it stands at the server.

        Without ``base_branch`` it begins at the server's default branch. What lies uncommitted, and
        commits that only this clone holds, are kept under ``refs/keruta``.

        Raises:
            SecurityError: no run may push to this branch.
            WorkspacePreparationError: git cannot do it.
        """
        branches.checked(branch_name)
        with self._told_as(errors.WorkspacePreparationError):
            return self._prepare(Path(slot_path).resolve(), branch_name, base_branch)

    def _prepare(self, path: Path, branch: str, wanted_base: str | None) -> Workspace:
        git_dir = path / ".git"
        if git_dir.is_dir():
            repository_config.settle(git_dir, is_ours=Notes(git_dir=git_dir).is_ours)
        git = self.git(path)
        top = git.find("rev-parse", "--show-toplevel")
        if top is None or Path(top).resolve() != path:
            raise errors.WorkspacePreparationError(
                f"{path} is not the top of a git work tree",
                advice="Give slot_path the directory of a clone, or metadata.repo_url an address",
            )
        url = remote_url(git)
        clone = Clone(git=git, url=url or parse(str(path)), is_ours=True)
        _remove_locks(path)
        name = f"runner-aside-{time.time_ns():x}"
        submodules.set_aside(clone, name, "found by a run of the runner", say_nothing)
        base, base_commit, there = (
            self._at_home(git, wanted_base)
            if url is None
            else self._fetch(git, branch, wanted_base, str(url))
        )
        if base == branch:
            raise errors.SecurityError(f"Pushing to {base!r} is not allowed: it is the base branch")
        start = there or base_commit
        self._keep(git, branch, start)
        obstacles.clear_branches(git, branch, say_nothing)
        own = dataclasses.replace(clone, is_ours=Notes(git_dir=git_dir).is_ours)
        submodules.make_way(own, start, say_nothing)
        # Git LFS fetches large files while they are checked out.
        needs_server = git.find("config", "--get", "filter.lfs.smudge") is not None
        (git.fetching_lazily() if needs_server else git).run(
            *("checkout", "--quiet", "--force", "--no-track", "-B", branch, start, "--"),
            action=f"check out {branch}",
        )
        git.run("clean", "--quiet", "-ffd", action="clean the work tree")
        retried(lambda: submodules.bring(own, say_nothing), self.retry_config, self.clock)
        if url is not None:
            retried(lambda: lfs.bring(git, say_nothing), self.retry_config, self.clock)
        forked = git.find("merge-base", base_commit, start) or base_commit
        self._starts[path] = (start, forked)
        self._copy_index(git)
        return Workspace(path=path, branch_name=branch, base_branch=base)

    def _fetch(
        self, git: Git, branch: str, wanted_base: str | None, url: str
    ) -> tuple[str, str, str | None]:
        """Returns the base branch, its commit, and that of the task's branch if it is there."""
        answer, _ = retried(
            lambda: git.text(
                "ls-remote", "--symref", REMOTE, "HEAD", "refs/heads/*", action=f"ask {url}"
            ),
            self.retry_config,
            self.clock,
        )
        head, there = "", set()
        for line in answer.splitlines():
            value, _, name = line.partition("\t")
            if value.startswith("ref: refs/heads/") and name == "HEAD":
                head = value.removeprefix("ref: refs/heads/")
            there.add(name.removeprefix("refs/heads/"))
        base = wanted_base or head or "main"
        if base not in there:
            raise errors.WorkspacePreparationError(
                f"{url} has no branch {base!r} to begin from",
                advice="Correct metadata.base_branch, or leave it out for the default branch",
            )
        names = [base, *([branch] if branch in there else [])]
        specs = [f"+refs/heads/{name}:refs/remotes/{REMOTE}/{name}" for name in names]
        retried(
            lambda: refs.fetch(git, specs, action=f"fetch from {url}"),
            self.retry_config,
            self.clock,
        )
        commits = [self._commit(git, f"refs/remotes/{REMOTE}/{name}") for name in names]
        return base, commits[0], commits[1] if len(commits) > 1 else None

    def _at_home(self, git: Git, wanted_base: str | None) -> tuple[str, str, str | None]:
        """Does the same in a repository that has no server."""
        base = wanted_base or git.find("symbolic-ref", "--short", "HEAD") or "HEAD"
        if base.startswith(branches.BEGINNINGS) and wanted_base is None:
            base = next((name for name in ("main", "master") if _has(git, name)), base)
        if not _has(git, base):
            raise errors.WorkspacePreparationError(f"there is no branch {base!r} to begin from")
        return base, self._commit(git, base), None

    def _commit(self, git: Git, name: str) -> str:
        return git.text("rev-parse", "--verify", f"{name}^{{commit}}", action=f"find {name}")

    def _keep(self, git: Git, branch: str, start: str) -> None:
        """Names the commits of a former run that were not pushed, so that they are not lost."""
        local = git.find("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
        if local and not git.holds("merge-base", "--is-ancestor", local, start):
            git.run("update-ref", f"{KEPT}/{branch}-{local[:12]}", local, action="keep commits")

    def stage(self, workspace: Workspace, *, only_known: bool = False) -> str:
        """Returns the tree of what lies in the work tree now; what is ignored is left out.

        With ``only_known`` new files are left out as well.
        """
        with self._told_as(errors.WorkspacePreparationError):
            git = self._staging(workspace.path)
            git.run("add", "--update" if only_known else "--all", "--", ":/", action="stage")
            return git.text("write-tree", action="stage the changes")

    def restore(self, workspace: Workspace, tree: str) -> None:
        """Brings the work tree back to a staged tree; what is ignored stays."""
        with self._told_as(errors.WorkspacePreparationError):
            git = self._staging(workspace.path)
            git.run("read-tree", "--reset", "-u", tree, action="clean the work tree")
            git.run("checkout-index", "--all", "--force", action="clean the work tree")
            git.run("clean", "--quiet", "-ffd", action="clean the work tree")
            submodules.reset(clone_of(git))

    def _staging(self, path: Path) -> Git:
        """Returns git with the run's own list of files."""
        git = self.git(path)
        if self._index is None:
            return git
        return git.with_variables({"GIT_INDEX_FILE": str(self._index)})

    def _copy_index(self, git: Git) -> None:
        if self._index is None:
            return
        named = ("rev-parse", "--path-format=absolute", "--git-path", "index")
        index = Path(git.text(*named, action="find the list of files"))
        try:
            if index.exists():
                shutil.copyfile(index, self._index)
        except OSError as exc:
            raise errors.WorkspacePreparationError(
                f"cannot copy {index} to {self._index}: {exc.strerror}"
            ) from exc

    def commit_changes(
        self, workspace: Workspace, commit_message: str, *, tree: str | None = None
    ) -> str:
        """Commits a tree, or all that lies in the work tree, and returns the commit.

        Raises:
            ImplementationError: there is nothing to commit.
            WorkspacePreparationError: git cannot do it.
        """
        tree = tree or self.stage(workspace)
        with self._told_as(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            start, forked = self._start(git, workspace)
            if git.text("rev-parse", f"{start}^{{tree}}", action="compare") == tree:
                if start != forked:
                    return start  # a run before this one has committed and pushed the same
                raise errors.ImplementationError("The model changed nothing")
            made = git.with_variables(trees.fallback_identity(git)).run(
                *("commit-tree", tree, "-p", start, "-F", "-"),
                action="commit the changes",
                stdin=f"{commit_message.strip()}\n".encode(),
            )
            commit = made.text
            ref = f"refs/heads/{workspace.branch_name}"
            _remove_locks(workspace.path)
            git.run("update-ref", ref, commit, action="move the branch")
            git.run("symbolic-ref", "HEAD", ref, action="move the branch")
            git.run("read-tree", commit, action="move the branch")
            return commit

    def get_diff(self, workspace: Workspace, *, tree: str | None = None) -> str:
        """Returns the difference to the base branch, new files included."""
        tree = tree or self.stage(workspace)
        with self._told_as(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            _, forked = self._start(git, workspace)
            arguments = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary")
            result = git.run(*arguments, forked, tree, action="compare with the base branch")
            return result.output.decode("utf-8", errors="replace")

    def push_branch(
        self, workspace: Workspace, branch_name: str, *, commit: str | None = None
    ) -> PushResult:
        """Pushes a commit, or the branch as it is here, and never forces anything.

        Raises:
            SecurityError: it is no branch that a run may push to.
            PushError: the server cannot be reached, or refuses.
        """
        branches.checked(branch_name)
        if branch_name == workspace.base_branch:
            raise errors.SecurityError(f"Pushing to {branch_name!r} is not allowed: it is the base")
        with self._told_as(errors.PushError):
            git = self.git(workspace.path)
            commit = commit or self._commit(git, f"refs/heads/{branch_name}")
            _, retries = retried(
                lambda: pushing.push(git, commit, branch_name), self.retry_config, self.clock
            )
            # Git notes it only where the clone follows all branches.
            seen = f"refs/remotes/{REMOTE}/{branch_name}"
            git.run("update-ref", seen, commit, action="note what was pushed")
            return PushResult(
                success=True, branch_name=branch_name, commit_hash=commit, retry_count=retries
            )

    def message_of_earlier_run(self, workspace: Workspace) -> str:
        """Returns what the branch's newest commit says, empty when a run has yet to begin it."""
        with self._told_as(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            start, forked = self._start(git, workspace)
            return (
                ""
                if start == forked
                else git.text("log", "-1", "--format=%B", start, action="read")
            )

    def files_changed(self, workspace: Workspace) -> list[str]:
        """Returns the files in which the branch differs from its base branch."""
        with self._told_as(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            start, forked = self._start(git, workspace)
            result = git.run(
                *("diff", "--name-only", "-z", "--no-renames", forked, start),
                action="compare with the base branch",
            )
            return list(records(result.output))

    def rollback(self, workspace: Workspace) -> None:
        """Brings the work tree back to where the run began; what lay in it is kept by git."""
        with self._told_as(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            clone = Clone(git=git, url=parse(str(workspace.path)), is_ours=True)
            name = f"runner-rollback-{time.time_ns():x}"
            submodules.set_aside(clone, name, "rolled back", say_nothing)
            start, _ = self._start(git, workspace)
            git.run("reset", "--quiet", "--hard", start, action="roll back")

    @contextlib.contextmanager
    def _told_as(self, kind: type[errors.RunnerError]) -> Iterator[None]:
        """Lets git's errors be errors of the runner."""
        try:
            yield
        except errors.WorkspaceError as exc:
            if isinstance(exc, GitError) and exc.problem is Problem.STOPPED:
                self.clock.check()  # says why the run is over, which is no fault of git's
            raise kind(exc.message, advice=exc.advice) from exc

    def _start(self, git: Git, workspace: Workspace) -> tuple[str, str]:
        """Returns where the run began, and where its branch leaves the base branch."""
        known = self._starts.get(workspace.path)
        if known is not None:
            return known
        head = self._commit(git, "HEAD")
        return head, git.find("merge-base", head, workspace.base_branch) or head


def _remove_locks(path: Path) -> None:
    """Removes the locks that a killed git has left: no command of the run is there any more."""
    if (path / ".git").is_dir():
        repair.remove_locks(path / ".git")


def _has(git: Git, branch: str) -> bool:
    return git.holds("rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}")
