"""What a task commits in submodules reaches their servers first, or its branch is not pushed."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.agent.workspace import commit, push
from keruta_agent.agent.workspace.push import Target
from keruta_agent.git.scan import RefusedError
from keruta_agent.git.submodules.push import resolve
from tests.helpers.repositories import git, make_repository
from tests.helpers.superprojects import SUBMODULE as PATH
from tests.helpers.superprojects import Superproject, commit_in
from tests.integration.agent.workspace.conftest import BRANCH, LIMITS, SESSION, TASK, Worker


@pytest.fixture
def worker(superproject: Superproject, tmp_path: Path) -> Worker:
    return Worker(tmp_path / "w" / "clone", str(superproject.repository.path))


class Task:
    """A run of a task in the worker's clone, and what follows it."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.place = worker.prepare()

    @property
    def submodule(self) -> Path:
        return self.worker.directory / PATH

    def deliver(self) -> str:
        message = commit.Message(name="work", task_id=TASK, session_id=SESSION, run_uid="work")
        said = self.worker.said.append
        commit.commit_all(self.worker.open(), self.place, message, LIMITS, said)
        target = Target(branch=self.place.branch, protected=frozenset({"main"}))
        return push.push(self.worker.open(), target, LIMITS, said)


@pytest.fixture
def task(worker: Worker) -> Task:
    return Task(worker)


def clone_with_submodules(address: Path, directory: Path) -> Path:
    """Clone the task's branch as a person would."""
    git(directory.parent, "clone", "-q", "-b", BRANCH, "--recursive", str(address), str(directory))
    return directory


def test_others_can_check_out_what_a_task_committed_in_submodules_of_submodules(
    worker: Worker, superproject: Superproject, tmp_path: Path
) -> None:
    base = make_repository(tmp_path / "base.git", {"base.txt": "base\n"})
    middle = superproject.person / PATH
    git(middle, "submodule", "--quiet", "add", "../base.git", "base")
    git(middle, "commit", "--quiet", "--message", "Add the base")
    git(middle, "push", "--quiet", "origin", "HEAD:main")
    superproject.publish()
    task = Task(worker)
    commit_in(task.submodule / "base", {"base.txt": "better\n"})
    commit_in(task.submodule, {"lib.txt": "better\n"})
    task.deliver()
    assert BRANCH in superproject.library.branches
    assert BRANCH in base.branches
    theirs = clone_with_submodules(superproject.repository.path, tmp_path / "theirs")
    assert (theirs / PATH / "lib.txt").read_text() == "better\n"
    assert (theirs / PATH / "base" / "base.txt").read_text() == "better\n"


def test_every_commit_of_the_branch_can_be_checked_out(
    task: Task, superproject: Superproject
) -> None:
    first = commit_in(task.submodule, {"lib.txt": "one way\n"})
    git(task.worker.directory, "commit", "--quiet", "--all", "--message", "One way")
    git(task.submodule, "reset", "--quiet", "--hard", "HEAD^")
    commit_in(task.submodule, {"lib.txt": "another way\n"})
    task.deliver()
    assert first in superproject.library.branches.values()


def test_a_commit_that_its_server_has_is_not_pushed_again(
    task: Task, superproject: Superproject
) -> None:
    superproject.library.commit("main", {"lib.txt": "newer\n"})
    git(task.submodule, "pull", "--quiet", "origin", "main")
    task.deliver()
    assert BRANCH not in superproject.library.branches


def test_what_the_workspace_claims_of_the_server_is_not_believed(
    task: Task, superproject: Superproject
) -> None:
    made = commit_in(task.submodule, {"lib.txt": "better\n"})
    git(task.submodule, "update-ref", "refs/remotes/origin/main", made)
    git(task.submodule, "update-ref", "refs/keruta/server/heads/main", made)
    task.deliver()
    assert superproject.library.branches[BRANCH] == made


def test_a_branch_of_an_earlier_run_in_the_submodule_is_left_as_it_is(
    task: Task, superproject: Superproject
) -> None:
    earlier = superproject.library.commit(BRANCH, {"lib.txt": "of an earlier run\n"})
    made = commit_in(task.submodule, {"lib.txt": "better\n"})
    task.deliver()
    assert superproject.library.branches[BRANCH] == earlier
    assert superproject.library.branches[f"{BRANCH}-{made[:12]}"] == made


def test_a_server_that_takes_no_commits_of_the_submodule_keeps_the_branch_here(
    task: Task, superproject: Superproject
) -> None:
    hook = superproject.library.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'read only'\nexit 1\n")
    hook.chmod(0o755)
    commit_in(task.submodule, {"lib.txt": "better\n"})
    with pytest.raises(RefusedError, match=f"{PATH}.*nobody could check the branch out"):
        task.deliver()
    assert not superproject.repository.task_branches


def test_a_secret_in_a_submodule_is_not_pushed(task: Task, superproject: Superproject) -> None:
    commit_in(task.submodule, {"lib.txt": "hunter22-and-more\n"})
    with pytest.raises(RefusedError, match="holds a secret"):
        task.deliver()
    assert BRANCH not in superproject.library.branches
    assert not superproject.repository.task_branches


def test_a_repository_that_gitmodules_does_not_name_is_not_pushed(
    task: Task, superproject: Superproject
) -> None:
    inner = task.worker.directory / "vendored"
    git(task.worker.directory, "init", "--quiet", str(inner))
    commit_in(inner, {"a.txt": "a\n"})
    git(task.worker.directory, "add", "vendored")
    git(task.worker.directory, "commit", "--quiet", "--message", "Vendored")
    with pytest.raises(RefusedError, match=r"vendored .*\.gitmodules does not name"):
        task.deliver()
    assert not superproject.repository.task_branches


def test_a_pointer_to_a_commit_that_is_nowhere_is_not_pushed(
    task: Task, superproject: Superproject
) -> None:
    git(task.worker.directory, "update-index", "--cacheinfo", f"160000,{'1' * 40},{PATH}")
    git(task.worker.directory, "commit", "--quiet", "--message", "Point at nothing")
    git(task.submodule, "checkout", "--quiet", "--detach")
    target = Target(branch=BRANCH, protected=frozenset({"main"}))
    with pytest.raises(RefusedError, match=f"{PATH} points at 1{{40}}"):
        push.push(task.worker.open(), target, LIMITS, task.worker.said.append)
    assert not superproject.repository.task_branches


def test_changes_that_a_task_left_uncommitted_in_a_submodule_are_named(task: Task) -> None:
    (task.submodule / "lib.txt").write_text("edited\n")
    (task.worker.directory / "README.md").write_text("edited\n")
    task.deliver()
    assert any("uncommitted in the submodule" in said and PATH in said for said in task.worker.said)


def test_a_submodule_that_hides_its_changes_is_pushed_all_the_same(
    worker: Worker, superproject: Superproject
) -> None:
    git(superproject.person, "config", "-f", ".gitmodules", "submodule.lib.ignore", "all")
    superproject.publish()
    task = Task(worker)
    made = commit_in(task.submodule, {"lib.txt": "better\n"})
    git(worker.directory, "update-index", "--cacheinfo", f"160000,{made},{PATH}")
    git(worker.directory, "commit", "--quiet", "--message", "Better")
    task.deliver()
    assert superproject.library.branches[BRANCH] == made


@pytest.mark.parametrize(
    ("base", "address", "resolved"),
    [
        ("https://h/a/b.git", "../c.git", "https://h/a/c.git"),
        ("https://h/a/b.git/", "../../c/d.git", "https://h/c/d.git"),
        ("https://h/a/b.git", "./c.git", "https://h/a/b.git/c.git"),
        ("git@h:a/b.git", "../c.git", "git@h:a/c.git"),
        ("git@h:b.git", "../c.git", "git@h:c.git"),
        ("/srv/b.git", "../c.git", "/srv/c.git"),
        ("https://h/a/b.git", "https://other/c.git", "https://other/c.git"),
        ("https://h/a/b.git", "..hidden/c.git", "..hidden/c.git"),
    ],
)
def test_addresses_are_resolved_as_git_does(base: str, address: str, resolved: str) -> None:
    assert resolve(base, address) == resolved
