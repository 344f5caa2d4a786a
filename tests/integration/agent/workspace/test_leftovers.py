"""A whole clone in which a task left something: the next task starts clean all the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import (
    BRANCH,
    OTHER_TASK,
    MakeDeep,
    Workspace,
)


def test_what_a_sparse_checkout_left_out_comes_back_as_no_change(workspace: Workspace) -> None:
    git(workspace.directory, "sparse-checkout", "set", "--no-cone", "/nothing/")
    assert not (workspace.directory / "README.md").exists()
    workspace.bring(task=OTHER_TASK)
    assert (workspace.directory / "README.md").exists()
    assert not any("set aside" in line for line in workspace.said)


@pytest.mark.parametrize("kind", ["heads", "tags"])
@pytest.mark.parametrize(("before", "after"), [("v", "v/x"), ("v/x", "v")])
def test_ref_that_became_a_directory_at_the_server_or_the_reverse(
    workspace: Workspace, repository: Repository, kind: str, before: str, after: str
) -> None:
    git(repository.path, "update-ref", f"refs/{kind}/{before}", "main")
    workspace.bring(ref=before)
    git(repository.path, "update-ref", "-d", f"refs/{kind}/{before}")
    newest = repository.commit("main", {"new.txt": "new"})
    git(repository.path, "update-ref", f"refs/{kind}/{after}", "main")

    assert workspace.bring(task=OTHER_TASK, ref=after).base == newest
    assert workspace.moved == []


def test_branch_of_a_script_below_the_name_of_the_tasks_is_kept(workspace: Workspace) -> None:
    git(workspace.directory, "checkout", "--quiet", "-b", "other")
    commit = workspace.commit("work.txt")
    git(workspace.directory, "branch", "-D", BRANCH)
    git(workspace.directory, "branch", "-m", f"{BRANCH}/more")

    workspace.bring()

    kept = git(workspace.directory, "for-each-ref", "--format=%(objectname)", "refs/keruta")
    assert kept == commit
    assert workspace.moved == []


def test_tag_that_moved_at_the_server_does_not_keep_a_commit_from_being_found(
    workspace: Workspace, repository: Repository
) -> None:
    git(repository.path, "update-ref", "refs/tags/nightly", "main")
    git(workspace.directory, "fetch", "--quiet", "--tags", "origin")
    hidden = repository.commit("side", {"side.txt": "side"})
    repository.commit("side", {"side.txt": "more"})
    newest = repository.commit("main", {"new.txt": "new"})
    git(repository.path, "update-ref", "refs/tags/nightly", newest)

    # A shortened commit is not asked for: all that the server has is fetched for it.
    assert workspace.bring(ref=hidden[:10]).base == hidden


def test_repository_that_a_task_left_is_moved_when_the_base_has_a_file_in_its_place(
    workspace: Workspace, repository: Repository
) -> None:
    inner = workspace.directory / "lib" / "名前"
    inner.mkdir(parents=True)
    git(inner, "init", "--quiet")
    (inner / "own.txt").write_text("own")
    git(inner, "add", "own.txt")
    git(inner, "commit", "--quiet", "-m", "own")
    repository.commit("main", {"lib": "a file where the task has a directory"})

    workspace.bring(task=OTHER_TASK)

    assert (workspace.directory / "lib").read_text().startswith("a file")
    (aside,) = workspace.moved
    assert git(aside.directory, "log", "--format=%s") == "own"
    assert not aside.is_removable
    assert (workspace.directory / ".git").is_dir()


def test_work_tree_beside_that_has_the_tasks_branch_is_in_nobodys_way(
    workspace: Workspace, tmp_path: Path
) -> None:
    git(workspace.directory, "checkout", "--quiet", "--detach")
    git(workspace.directory, "worktree", "add", "--quiet", str(tmp_path / "beside"), BRANCH)
    assert workspace.bring().branch == BRANCH


def test_directory_deeper_than_any_path_is_out_of_the_way(
    workspace: Workspace, make_deep: MakeDeep
) -> None:
    make_deep(workspace.directory, 1100, "名")  # longer than any path may be
    workspace.bring(task=OTHER_TASK)
    assert not (workspace.directory / "名").exists()


@pytest.mark.parametrize(
    "hide",
    [
        ["update-index", "--assume-unchanged", "README.md"],
        ["update-index", "--skip-worktree", "README.md"],
        ["sparse-checkout", "set", "--no-cone", "/nothing"],
    ],
)
def test_file_that_a_task_hid_from_git_is_as_it_should_be_for_the_next(
    workspace: Workspace, hide: list[str]
) -> None:
    (workspace.directory / "README.md").write_text("of the task before")
    git(workspace.directory, *hide)

    workspace.bring(task=OTHER_TASK)
    assert (workspace.directory / "README.md").read_text() == "# A project\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
@pytest.mark.parametrize("place", [".", ".git", ".git/keruta", ".git/objects", "deep/er"])
@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_directory_without_permissions_is_given_them(
    workspace: Workspace, repository: Repository, place: str, mode: int
) -> None:
    (workspace.directory / "deep" / "er").mkdir(parents=True)
    (workspace.directory / "deep" / "er" / "f").write_text("x")
    (workspace.directory / place).chmod(mode)
    newest = repository.commit("main", {"new.txt": "new"})

    assert workspace.bring(task=OTHER_TASK).base == newest
    assert (workspace.moved, (workspace.directory / "deep").exists()) == ([], False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_file_outside_that_a_task_linked_keeps_its_mode(
    workspace: Workspace, tmp_path: Path
) -> None:
    outside = tmp_path / "key"
    outside.write_text("key")
    (workspace.directory / "link").symlink_to(outside)
    (workspace.directory / "second").hardlink_to(outside)
    outside.chmod(0o000)

    workspace.bring(task=OTHER_TASK)
    assert outside.stat().st_mode & 0o777 == 0
    assert len(workspace.moved) == 1
