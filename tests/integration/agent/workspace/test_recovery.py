"""A workspace recovers from whatever a task, a crash or a full disk left of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.git import lfs
from keruta_agent.git.clone import CloneOptions
from keruta_agent.git.problems import GitError, Problem
from keruta_agent.git.submodules import work_trees
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import (
    BRANCH,
    OTHER_TASK,
    Workspace,
    empty,
)


def replace_with_directory(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


def replace_with_pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


REPAIRED = {
    "index is a directory": lambda it: replace_with_directory(it / "index"),
    "HEAD is a directory": lambda it: replace_with_directory(it / "HEAD"),
    "HEAD is a pipe": lambda it: replace_with_pipe(it / "HEAD"),
    "HEAD holds nonsense": lambda it: (it / "HEAD").write_text("somewhere\n"),
    "index.lock is a directory": lambda it: (it / "index.lock").mkdir(),
    "settings are a directory": lambda it: replace_with_directory(it / "config"),
    "settings lead to another directory": lambda it: git(it, "config", "core.worktree", "/"),
    "settings are of a later git": lambda it: git(
        it, "config", "core.repositoryFormatVersion", "99"
    ),
    "packed refs are nonsense": lambda it: (it / "packed-refs").write_text("\x00nonsense\n"),
    "shallow is nonsense": lambda it: (it / "shallow").write_text("nonsense\n"),
    "tracking ref is nonsense": lambda it: (it / "refs" / "remotes" / "origin" / "main").write_text(
        "nonsense"
    ),
    "own branch is empty": lambda it: empty(it / "refs" / "heads" / BRANCH),
    "another place lends objects": lambda it: (it / "objects" / "info" / "alternates").write_text(
        "/nowhere\n"
    ),
    "info is a file": lambda it: (it / "info").rename(it / "old") or empty(it / "info"),
    "cache of packs is broken": lambda it: (
        it / "objects" / "pack" / "multi-pack-index"
    ).write_bytes(b"MIDX nonsense"),
}


@pytest.mark.parametrize("damage", REPAIRED)
def test_what_can_be_repaired_is_repaired_in_place(
    workspace: Workspace, repository: Repository, damage: str
) -> None:
    REPAIRED[damage](workspace.git_dir)
    newest = repository.commit("main", {"new.txt": "new"})

    place = workspace.bring(task=OTHER_TASK)

    assert (place.base, workspace.moved) == (newest, [])
    assert git(workspace.directory, "status", "--porcelain") == ""
    assert (workspace.directory / "new.txt").read_text() == "new"


def test_branch_whose_ref_is_broken_goes_on_where_its_log_says(workspace: Workspace) -> None:
    commit = workspace.commit("work.txt")
    empty(workspace.git_dir / "refs" / "heads" / BRANCH)

    assert workspace.bring().start == commit


def link_git_dir(directory: Path) -> None:
    (directory / ".git").rename(directory.parent / "elsewhere")
    (directory / ".git").symlink_to(directory.parent / "elsewhere")


def replace_git_dir_with_file(directory: Path) -> None:
    (directory / ".git").rename(directory.parent / "elsewhere")
    (directory / ".git").write_text(f"gitdir: {directory.parent / 'elsewhere'}\n")


REPLACED = {
    ".git is gone": lambda it: (it / ".git").rename(it.parent / "gone"),
    ".git is a link": link_git_dir,
    ".git is a file": replace_git_dir_with_file,
    "notes are gone": lambda it: (it / ".git" / "keruta" / "clone.json").unlink(),
    "objects are gone": lambda it: (it / ".git" / "objects").rename(it.parent / "objects"),
    "objects are a file": lambda it: (
        (it / ".git" / "objects").rename(it.parent / "objects"),
        empty(it / ".git" / "objects"),
    ),
}


@pytest.mark.parametrize("damage", REPLACED)
def test_what_cannot_be_repaired_is_moved_aside_and_cloned_anew(
    workspace: Workspace, repository: Repository, damage: str
) -> None:
    (workspace.directory / "left.txt").write_text("left")
    REPLACED[damage](workspace.directory)
    newest = repository.commit("main", {"new.txt": "new"})

    assert workspace.bring(task=OTHER_TASK).base == newest

    (aside,) = workspace.moved
    assert (aside.directory / "left.txt").read_text() == "left"
    assert not (workspace.directory / "left.txt").exists()
    assert any(str(aside.directory) in line for line in workspace.said)
    workspace.bring()
    assert len(workspace.moved) == 1


def test_work_tree_that_is_gone_comes_back(workspace: Workspace) -> None:
    (workspace.directory / "README.md").unlink()
    workspace.bring()
    assert (workspace.directory / "README.md").exists()


def test_commits_that_only_the_broken_clone_had_are_taken_over(
    tmp_path: Path, repository: Repository
) -> None:
    workspace = Workspace(tmp_path / '作業:"場"\n所', str(repository.path))
    first = workspace.bring().base
    assert first is not None
    pushed_by_nobody = workspace.commit("work.txt")
    git(workspace.directory, "branch", "own/branch")
    git(workspace.directory, "update-ref", "refs/keruta/failed/x/1", pushed_by_nobody)
    # Of the server's: what is missing is fetched, but this clone is of no use any more.
    workspace.break_object(first)

    assert workspace.bring().start == pushed_by_nobody

    (aside,) = workspace.moved
    assert (aside.held, aside.is_removable) == ((), True)
    refs = git(workspace.directory, "for-each-ref", "--format=%(refname)", "refs/keruta").split()
    assert "refs/keruta/failed/x/1" in refs
    assert any(name.startswith("refs/keruta/moved/heads/own/branch-") for name in refs)
    assert git(workspace.directory, "fsck", "--connectivity-only") == ""


@pytest.mark.parametrize("what", ["submodule", "large files"])
def test_healthy_clone_stays_when_a_part_of_it_cannot_be_had(
    workspace: Workspace, repository: Repository, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise GitError(f"cannot bring the {what}: the object is not there", Problem.OTHER)

    part = work_trees if what == "submodule" else lfs
    monkeypatch.setattr(part, "bring", fail)
    with pytest.raises(errors.WorkspaceError, match=what):
        workspace.bring(task=OTHER_TASK)
    assert workspace.moved == []


def test_clone_is_left_alone_while_the_server_does_not_answer(
    workspace: Workspace, repository: Repository
) -> None:
    (workspace.git_dir / "objects").rename(workspace.directory / "objects")
    repository.path.rename(repository.path.with_suffix(".away"))

    with pytest.raises(errors.WorkspaceError):
        workspace.bring()
    assert workspace.moved == []


def test_ref_that_the_server_lacks_is_no_reason_to_touch_a_clone(workspace: Workspace) -> None:
    with pytest.raises(errors.WorkspaceError, match="no branch, tag or commit nowhere"):
        workspace.bring(ref="nowhere")
    assert (workspace.moved, workspace.said) == ([], [])


def test_directory_that_a_person_put_in_the_place_of_a_clone_is_not_moved(
    workspace: Workspace,
) -> None:
    workspace.directory.rename(workspace.directory.with_name("away"))
    workspace.directory.mkdir()
    (workspace.directory / "thesis.txt").write_text("mine")

    with pytest.raises(errors.WorkspaceError, match="is not empty and holds no clone"):
        workspace.bring()
    assert (workspace.directory / "thesis.txt").read_text() == "mine"


def test_broken_clone_of_a_person_is_not_touched(tmp_path: Path, repository: Repository) -> None:
    workspace = Workspace(tmp_path / "w", str(repository.path))
    git(tmp_path, "clone", "--quiet", str(repository.path), str(workspace.directory))
    empty(workspace.git_dir / "HEAD")

    with pytest.raises(errors.WorkspaceError):
        workspace.bring()
    assert (workspace.git_dir / "HEAD").read_bytes() == b""
    assert workspace.moved == []


def test_mirror_that_is_broken_is_made_anew(tmp_path: Path, repository: Repository) -> None:
    options = CloneOptions(mirrors=tmp_path / "mirrors")
    first = Workspace(tmp_path / "w1", str(repository.path))
    first.options = options
    first.bring()
    (mirror,) = (tmp_path / "mirrors").iterdir()
    (mirror / "HEAD").write_bytes(b"")

    second = Workspace(tmp_path / "w2", str(repository.path))
    second.options = options
    second.bring()
    assert git(mirror, "fsck", "--connectivity-only") == ""
