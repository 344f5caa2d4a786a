"""A workspace recovers from whatever a task, a crash or a full disk left of it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import checkout, moved, recovery
from keruta_agent.agent.workspace.checkout import CheckoutRequest, Place
from keruta_agent.agent.workspace.made import MadeClones
from keruta_agent.agent.workspace.moved import Moved
from keruta_agent.core import errors, file_trees
from keruta_agent.git import lfs
from keruta_agent.git.clone import CloneOptions
from keruta_agent.git.problems import GitError, Problem
from keruta_agent.git.submodules import work_trees
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import BRANCH, SESSION, TASK, MakeDeep, Worker

OTHER_TASK = "87654321-1234-4ca2-b064-7a7a7672dd1a"


class Workspace(Worker):
    """A clone that is brought to one task after the other."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory, address)
        self.made = MadeClones(notes=directory.parent / "made")

    def bring(self, *, task: str = TASK, ref: str = "") -> Place:
        self.said.clear()
        wanted = CheckoutRequest(session_id=SESSION, task_id=task, run_uid="0123abcd", ref=ref)
        return recovery.bring(
            *(self.git(), self.url, self.options, self.made, wanted), self.said.append
        )

    @property
    def moved(self) -> list[Moved]:
        return moved.all_beside(self.directory)

    @property
    def git_dir(self) -> Path:
        return self.directory / ".git"

    def commit(self, name: str) -> str:
        """Commit a file as a script does."""
        (self.directory / name).write_text(name)
        git(self.directory, "add", name)
        git(self.directory, "commit", "--quiet", "-m", name)
        return git(self.directory, "rev-parse", "HEAD")

    def break_object(self, name: str) -> None:
        """Empty an object, as a power cut does."""
        file = self.git_dir / "objects" / name[:2] / name[2:]
        if not file.exists():  # in a pack
            for pack in (self.git_dir / "objects" / "pack").glob("*.pack"):
                data = pack.rename(self.directory.parent / "pack")
                with data.open("rb") as stream:
                    subprocess.run(
                        ["git", "unpack-objects", "-q"],
                        cwd=self.directory,
                        stdin=stream,
                        check=True,
                    )
        file.chmod(0o600)
        file.write_bytes(b"")


@pytest.fixture
def workspace(tmp_path: Path, repository: Repository) -> Workspace:
    found = Workspace(tmp_path / "w", str(repository.path))
    found.bring()
    return found


def empty(file: Path) -> None:
    file.write_bytes(b"")


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


def test_what_a_sparse_checkout_left_out_comes_back_as_no_change(workspace: Workspace) -> None:
    git(workspace.directory, "sparse-checkout", "set", "--no-cone", "/nothing/")
    assert not (workspace.directory / "README.md").exists()
    workspace.bring(task=OTHER_TASK)
    assert (workspace.directory / "README.md").exists()
    assert not any("set aside" in line for line in workspace.said)


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


def test_mount_point_is_not_moved_and_the_command_is_told(
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
    make_deep(workspace.directory, 2500, "名")  # longer than any path may be
    workspace.bring(task=OTHER_TASK)
    assert not (workspace.directory / "名").exists()


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
