"""The workspace of a run, from where it begins to the push of its change.

What is committed is never what happens to lie in the work tree, but a tree of git's that was
written before the tests ran: what they leave there, commit or stage goes nowhere. The list of files
that it is made from is the run's own: in the repository's, tests can mark a file as one not to look
at, and what the model writes into it would be tested and not committed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from keruta_agent.core import errors
from keruta_agent.core.coding import branches
from keruta_agent.core.coding.model import PushResult, Workspace
from keruta_agent.git import checkout, push, remote
from keruta_agent.git import commit as commits
from keruta_agent.git.checkout import Start
from keruta_agent.git.clone import Clone, CloneOptions, open_or_make
from keruta_agent.git.command import Git, Say, records, say_nothing
from keruta_agent.git.config import repository as repository_config
from keruta_agent.git.problems import GitError, Problem
from keruta_agent.git.repository import maintenance
from keruta_agent.git.repository.notes import Notes
from keruta_agent.git.retry import Retry
from keruta_agent.git.submodules import work_trees as submodules
from keruta_agent.git.url import RepositoryUrl, parse
from keruta_agent.runner.config import RetryConfig
from keruta_agent.runner.deadline import Deadline
from keruta_agent.runner.workspace import trees
from keruta_agent.runner.workspace.policies import CHECKOUT, PUSH
from keruta_agent.runner.workspace.repository import MOST_S, WorkspaceAccess, remote_url, retrying
from keruta_agent.runner.workspace.trees import Trees


class WorkspaceManager:
    """The git work in workspaces. One instance may serve one run after the other."""

    def __init__(
        self,
        retry_config: RetryConfig | None = None,
        *,
        deadline: Deadline | None = None,
        access: WorkspaceAccess | None = None,
        index: Path | None = None,
        signs: bool = False,
    ) -> None:
        """Take how often the network is tried, and the access to the repository's server.

        ``index`` is where git's list of files is kept that no command of the run shall reach. With
        ``signs`` commits are signed, with the key that git is set up with.
        """
        self._signs = signs
        self._index = index
        self.retry_config = retry_config or RetryConfig()
        self._deadline = deadline
        self._access = access or WorkspaceAccess()
        self._urls: dict[Path, RepositoryUrl | None] = {}
        self._starts: dict[Path, tuple[str, str]] = {}

    def git(self, path: Path) -> Git:
        """Return git in a workspace."""
        if path not in self._urls:
            self._urls[path] = remote_url(self._access.git(path, None, self.deadline))
        return self._access.git(path, self._urls[path], self.deadline)

    @property
    def deadline(self) -> Deadline:
        """The run's deadline; without one each step has time enough."""
        return self._deadline or Deadline(2 * MOST_S)

    @property
    def _retry(self) -> Retry:
        return retrying(self.retry_config, self.deadline)

    def clone(self, directory: Path, address: str, *, mirrors: Path | None, say: Say) -> Path:
        """Clone a repository into a directory, with files only as they are needed.

        Raises:
            WorkspacePreparationError: the address is none, or git cannot do it.
        """
        with self._raising(errors.WorkspacePreparationError):
            url = parse(address)
            git = self._access.git(directory, url, self.deadline)
            options = CloneOptions(is_partial=True, mirrors=mirrors)
            self._retry.run(lambda: open_or_make(git, url, options, say))
        return directory

    def prepare_workspace(
        self, slot_path: Path, branch_name: str, base_branch: str | None = None
    ) -> Workspace:
        """Check out the branch, new from the base branch or as the server has it.

        Without ``base_branch`` it begins at the server's default branch. What lies uncommitted, and
        commits that only this clone holds, are kept under ``refs/keruta``.

        Raises:
            SecurityError: no run may push to this branch.
            WorkspacePreparationError: git cannot do it.
        """
        branches.checked(branch_name)
        with self._raising(errors.WorkspacePreparationError):
            return self._prepare(Path(slot_path).resolve(), branch_name, base_branch)

    def _prepare(self, path: Path, branch: str, wanted_base: str | None) -> Workspace:
        git_dir = path / ".git"
        if git_dir.is_dir():
            repository_config.settle(git_dir, is_ours=Notes(git_dir=git_dir).is_ours)
        self._urls.pop(path, None)
        git = self.git(path)
        top = git.find("rev-parse", "--show-toplevel")
        if top is None or Path(top).resolve() != path:
            raise errors.WorkspacePreparationError(
                f"{path} is not the top of a git work tree",
                advice="Give slot_path the directory of a clone, or metadata.repo_url an address",
            )
        clone = self._clone(git)
        _remove_locks(path)
        name = f"runner-aside-{time.time_ns():x}"
        everything = dataclasses.replace(clone, is_ours=True)
        submodules.set_aside(everything, name, "found by a run of the runner", say_nothing)
        find = self._find_at_home if self._urls[path] is None else self._find_at_server
        base, base_commit, start = find(clone, branch, wanted_base)
        policy = dataclasses.replace(CHECKOUT, parts=self._retry)
        checkout.check_out(clone, start, policy, say_nothing)
        begun = start.commit or base_commit
        forked = git.find("merge-base", base_commit, begun) or base_commit
        self._starts[path] = (begun, forked)
        self._copy_index(git)
        return Workspace(path=path, branch_name=branch, base_branch=base)

    def _clone(self, git: Git) -> Clone:
        """Return the clone in a workspace, which may be a person's."""
        path = git.directory
        is_ours = Notes(git_dir=path / ".git").is_ours
        return Clone(git=git, url=self._urls.get(path) or parse(str(path)), is_ours=is_ours)

    def _find_at_server(
        self, clone: Clone, branch: str, wanted_base: str | None
    ) -> tuple[str, str, Start]:
        """Return the base branch, its commit, and where the task's branch is to begin."""
        asked = functools.partial(remote.ask, clone, branch, wanted_base or "main")
        server, _ = self._retry.run(asked)
        base = wanted_base or server.default_branch or "main"
        at_head = server.refs.get("HEAD") if base == server.default_branch else None
        base_commit = server.branch(base) or at_head
        if base_commit is None:
            raise errors.WorkspacePreparationError(
                f"{clone.url} has no branch {base!r} to begin from",
                advice="Correct metadata.base_branch, or leave it out for the default branch",
            )
        _refuse_base(branch, base)
        pushed = server.branch(branch)
        wanted = {base: base_commit, **({} if pushed is None else {branch: pushed})}
        fetched, _ = self._retry.run(lambda: remote.fetch_branches(clone, wanted))
        return base, fetched[0], _start(clone, branch, fetched[-1])

    def _find_at_home(
        self, clone: Clone, branch: str, wanted_base: str | None
    ) -> tuple[str, str, Start]:
        """Do the same in a repository that has no server."""
        git = clone.git
        base = wanted_base or git.find("symbolic-ref", "--short", "HEAD") or "HEAD"
        if base.startswith(branches.BEGINNINGS) and wanted_base is None:
            base = next((name for name in ("main", "master") if _has(git, name)), base)
        if not _has(git, base):
            raise errors.WorkspacePreparationError(f"there is no branch {base!r} to begin from")
        _refuse_base(branch, base)
        commit = self._commit(git, base)
        return base, commit, _start(clone, branch, commit)

    def _commit(self, git: Git, name: str) -> str:
        return git.text("rev-parse", "--verify", f"{name}^{{commit}}", action=f"find {name}")

    def check_signing(self, workspace: Workspace, say: Say) -> None:
        """Make sure that a commit can be signed, before there is one.

        Raises:
            WorkspacePreparationError: it cannot be, and is to be.
        """
        with self._raising(errors.WorkspacePreparationError):
            git = commits.signing(self.git(workspace.path), say, is_wanted=self._signs)
            if self._signs:
                empty = commits.empty_tree(git)
                commits.commit_tree(git, empty, [], "Can this be signed?", signs=True)

    def stage(self, workspace: Workspace, *, only_known: bool = False) -> str:
        """Return the tree of the current work tree, without ignored files.

        With ``only_known`` new files are left out as well.
        """
        with self._raising(errors.WorkspacePreparationError):
            git = self._staging(workspace.path)
            commits.stage(git, only_known=only_known)
            return commits.write_tree(git)

    def restore(self, workspace: Workspace, tree: str) -> None:
        """Bring the work tree back to a staged tree; what is ignored stays."""
        with self._raising(errors.WorkspacePreparationError):
            git = self._staging(workspace.path)
            trees.switch(git, tree)
            git.run("clean", "--quiet", "-ffd", action="clean the work tree")
            submodules.reset(self._clone(git))

    def trees(self, workspace: Workspace, index: Path) -> Trees:
        """Return the repository's trees; ``index`` is a file to make new ones with."""
        return Trees(self.git(workspace.path), index)

    def switch(self, workspace: Workspace, tree: str) -> None:
        """Bring the known files to a staged tree; what commands have made stays."""
        with self._raising(errors.WorkspacePreparationError):
            trees.switch(self._staging(workspace.path), tree)

    def altered(self, workspace: Workspace) -> tuple[list[str], list[str]]:
        """Return the known files that are not as they were staged, and those not known."""
        with self._raising(errors.WorkspacePreparationError):
            return trees.altered(self._staging(workspace.path))

    def put_back(self, workspace: Workspace, paths: Sequence[str]) -> None:
        """Bring known files to what was staged."""
        with self._raising(errors.WorkspacePreparationError):
            trees.put_back(self._staging(workspace.path), paths)

    def _staging(self, path: Path) -> Git:
        """Return git with the run's own list of files."""
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
        """Commit a tree, or the whole work tree, and return the commit.

        Raises:
            ImplementationError: there is nothing to commit.
            WorkspacePreparationError: git cannot do it.
        """
        tree = tree or self.stage(workspace)
        with self._raising(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            start, forked = self._start(git, workspace)
            if git.text("rev-parse", f"{start}^{{tree}}", action="compare") == tree:
                if start != forked:
                    return start  # a run before this one has committed and pushed the same
                raise errors.ImplementationError("The model changed nothing")
            commit = commits.commit_tree(git, tree, [start], commit_message, signs=self._signs)
            ref = f"refs/heads/{workspace.branch_name}"
            _remove_locks(workspace.path)
            git.run("update-ref", ref, commit, action="move the branch")
            git.run("symbolic-ref", "HEAD", ref, action="move the branch")
            git.run("read-tree", commit, action="move the branch")
            return commit

    def get_diff(self, workspace: Workspace, *, tree: str | None = None) -> str:
        """Return the difference to the base branch, new files included."""
        tree = tree or self.stage(workspace)
        with self._raising(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            _, forked = self._start(git, workspace)
            arguments = ("diff", "--no-color", "--binary", forked, tree)
            result = git.run(*arguments, action="compare with the base branch")
            return result.output.decode("utf-8", errors="replace")

    def push_branch(
        self, workspace: Workspace, branch_name: str, *, commit: str | None = None
    ) -> PushResult:
        """Push a commit, or the branch as it is here, and never force anything.

        Raises:
            SecurityError: it is no branch that a run may push to.
            PushError: the server cannot be reached, or refuses.
        """
        branches.checked(branch_name)
        if branch_name == workspace.base_branch:
            raise errors.SecurityError(f"Pushing to {branch_name!r} is not allowed: it is the base")
        with self._raising(errors.PushError):
            git = self.git(workspace.path)
            commit = commit or self._commit(git, f"refs/heads/{branch_name}")
            clone = self._clone(git)
            attempted = functools.partial(push.push, clone, commit, branch_name, PUSH)
            refusal, retries = self._retry.run(attempted)
            if refusal:
                raise errors.PushError(
                    f"the server refuses the branch {branch_name}: {refusal}",
                    advice="If somebody else has pushed there, run the task again: "
                    "it goes on from that",
                )
            return PushResult(
                success=True, branch_name=branch_name, commit_hash=commit, retry_count=retries
            )

    def message_of_earlier_run(self, workspace: Workspace) -> str:
        """Return what the branch's newest commit says, empty when a run has yet to begin it."""
        with self._raising(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            start, forked = self._start(git, workspace)
            return (
                ""
                if start == forked
                else git.text("log", "-1", "--format=%B", start, action="read")
            )

    def files_changed(self, workspace: Workspace, tree: str | None = None) -> list[str]:
        """Return the files in which the branch, or a tree, differs from its base branch."""
        with self._raising(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            start, forked = self._start(git, workspace)
            result = git.run(
                *("diff", "--name-only", "-z", "--no-renames", forked, tree or start),
                action="compare with the base branch",
            )
            return list(records(result.output))

    def rollback(self, workspace: Workspace) -> None:
        """Bring the work tree back to where the run began; what lay in it is kept by git."""
        with self._raising(errors.WorkspacePreparationError):
            git = self.git(workspace.path)
            everything = dataclasses.replace(self._clone(git), is_ours=True)
            name = f"runner-rollback-{time.time_ns():x}"
            submodules.set_aside(everything, name, "rolled back", say_nothing)
            start, _ = self._start(git, workspace)
            git.run("reset", "--quiet", "--hard", start, action="roll back")

    @contextlib.contextmanager
    def _raising(self, kind: type[errors.RunnerError]) -> Iterator[None]:
        """Raise git's errors as errors of the runner."""
        try:
            yield
        except errors.WorkspaceError as exc:
            if isinstance(exc, GitError) and exc.problem is Problem.STOPPED:
                self.deadline.check()  # says why the run is over, which is no fault of git's
            raise kind(exc.message, advice=exc.advice) from exc

    def _start(self, git: Git, workspace: Workspace) -> tuple[str, str]:
        """Return where the run began, and where its branch leaves the base branch."""
        known = self._starts.get(workspace.path)
        if known is not None:
            return known
        head = self._commit(git, "HEAD")
        return head, git.find("merge-base", head, workspace.base_branch) or head


def _refuse_base(branch: str, base: str) -> None:
    if base == branch:
        raise errors.SecurityError(f"Pushing to {base!r} is not allowed: it is the base branch")


def _start(clone: Clone, branch: str, commit: str) -> Start:
    former = f"refs/heads/{branch}"
    return Start(
        branch=branch, commit=commit, former=remote.commits_of(clone.git, former).get(former)
    )


def _remove_locks(path: Path) -> None:
    """Remove the locks that a killed git has left: no command of the run is there any more."""
    if (path / ".git").is_dir():
        maintenance.remove_locks(path / ".git")


def _has(git: Git, branch: str) -> bool:
    return git.holds("rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}")
