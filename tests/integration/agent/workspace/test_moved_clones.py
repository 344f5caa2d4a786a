"""Clones that were moved aside: how many are kept, and when none is moved."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import checkout, moved, recovery
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.agent.workspace.moved import Moved
from keruta_agent.core import errors, file_trees
from keruta_agent.git.problems import GitError, Problem
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import (
    BRANCH,
    OTHER_TASK,
    Workspace,
)


def test_clone_with_commits_that_cannot_be_taken_over_is_never_removed(
    workspace: Workspace,
) -> None:
    lost = workspace.commit("work.txt")
    tree = git(workspace.directory, "rev-parse", f"{lost}^{{tree}}")
    workspace.break_object(tree)
    workspace.bring()
    (first,) = workspace.moved
    assert first.held == (f"refs/heads/{BRANCH}",)

    for _ in range(moved.MOST_KEPT + 1):
        (workspace.git_dir / "objects").rename(workspace.directory / "objects")
        workspace.bring(task=OTHER_TASK)

    kept = workspace.moved
    assert first in kept  # those of one second come in any order
    assert len(kept) == moved.MOST_KEPT + 1


def test_no_more_clones_are_moved_when_too_many_must_be_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moved, "MOST_HELD", 0)
    (workspace.git_dir / "objects").rename(workspace.directory / "objects")

    with pytest.raises(errors.WorkspaceError, match="that were moved before") as caught:
        workspace.bring()
    assert "rm -rf" in caught.value.advice


@pytest.mark.parametrize(("bound", "value"), [("MOST_HELD", 1), ("MOST_HELD_BYTES", 1)])
def test_what_cannot_be_removed_does_not_pile_up(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    remove = file_trees.remove

    def foreign(path: Path) -> None:
        if ".moved-" in path.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        remove(path)

    monkeypatch.setattr(moved, "MOST_KEPT", 0)
    (workspace.git_dir / "objects").rename(workspace.directory / "objects")
    with monkeypatch.context() as patch:
        patch.setattr(file_trees, "remove", foreign)
        workspace.bring()
        assert any("another user's; sudo rm -rf" in line for line in workspace.said)
    monkeypatch.setattr(moved, "prune", lambda _directory: [])
    monkeypatch.setattr(moved, bound, value)
    (workspace.git_dir / "objects").rename(workspace.directory / "objects")
    with pytest.raises(errors.WorkspaceError, match="files of other users") as caught:
        workspace.bring(task=OTHER_TASK)
    assert "sudo rm -rf" in caught.value.advice
    assert len(workspace.moved) == 1


def test_note_of_a_move_that_never_happened_goes(workspace: Workspace) -> None:
    note = workspace.directory.with_name("w.moved-20260101-000000-abcdef.json")
    note.write_text("{}")
    workspace.bring()
    assert not note.exists()


def test_agent_that_is_killed_after_the_move_goes_on_from_there(workspace: Workspace) -> None:
    commit = workspace.commit("work.txt")
    moved.move_aside(workspace.directory, "broken")

    assert workspace.bring().start == commit
    assert [aside.is_removable for aside in workspace.moved] == [True]


def test_moved_clones_that_hold_nothing_make_room_for_a_new_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage() -> None:
        (workspace.git_dir / "objects").rename(workspace.directory / "objects")

    damage()
    workspace.bring()
    (first,) = workspace.moved
    usage = shutil.disk_usage(workspace.directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1))
    damage()
    workspace.bring(task=OTHER_TASK)
    assert first not in workspace.moved
    assert len(workspace.moved) == 1


def test_new_clone_for_which_there_is_no_room_takes_none(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise GitError("cannot check out: No space left on device", Problem.DISK_FULL)

    workspace = Workspace(tmp_path / "new", str(repository.path))
    with monkeypatch.context() as patch:
        patch.setattr(checkout, "prepare", full)
        with pytest.raises(GitError, match="No space left"):
            workspace.bring()
        assert list(workspace.directory.iterdir()) == []
    workspace.bring()
    with monkeypatch.context() as patch:
        patch.setattr(checkout, "prepare", full)
        with pytest.raises(GitError, match="No space left"):
            workspace.bring()
    assert workspace.git_dir.is_dir(), "a clone that tasks have used stays"


def test_disk_that_is_full_leaves_the_clone_where_it_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_moved: Moved) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (workspace.git_dir / "objects").rename(workspace.directory / "objects")
    with monkeypatch.context() as patch:
        patch.setattr(moved, "_write", full)
        with pytest.raises(errors.WorkspaceError, match="No space left"):
            workspace.bring()
    assert workspace.moved == []
    workspace.bring()
    assert len(workspace.moved) == 1


def test_mount_point_is_not_moved_and_the_command_is_named(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mountinfo"
    point = str(workspace.directory / "node modules").replace(" ", r"\040")
    mounts.write_text(f"36 35 98:0 / {point} rw,noatime - ext4 /dev/x rw\n")
    monkeypatch.setattr(moved, "_MOUNTS", mounts)
    (workspace.git_dir / "objects").rename(workspace.directory / "objects")

    with pytest.raises(errors.WorkspaceError, match="node modules is a mount point") as caught:
        workspace.bring()
    assert "find " in caught.value.advice
    assert workspace.directory.is_dir()


def test_new_clone_that_fails_as_well_is_not_replaced_again_at_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Place:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(recovery.checkout, "prepare", fails)
    for _ in range(3):
        with pytest.raises(errors.WorkspaceError, match="Input/output error"):
            workspace.bring()
    assert len(workspace.moved) == 1


def _is_replaced_in_vain(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise GitError("cannot check the branch out", Problem.OTHER)

    with monkeypatch.context() as patch:
        patch.setattr(checkout, "prepare", fail)
        with pytest.raises(GitError, match="cannot check the branch out"):
            workspace.bring()


def test_whole_clone_in_which_nothing_succeeded_is_not_replaced_again_at_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _is_replaced_in_vain(workspace, monkeypatch)
    _is_replaced_in_vain(workspace, monkeypatch)
    assert len(workspace.moved) == 1

    workspace.bring()
    _is_replaced_in_vain(workspace, monkeypatch)
    assert len(workspace.moved) == 2


def test_clone_that_was_broken_anew_is_replaced_at_once_also_when_nothing_succeeded_in_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _is_replaced_in_vain(workspace, monkeypatch)
    (workspace.git_dir / "objects").rename(workspace.directory / "objects")

    assert workspace.bring().branch == BRANCH
    assert len(workspace.moved) == 2
