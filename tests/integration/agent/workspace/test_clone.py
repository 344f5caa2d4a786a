"""What is in the directory beforehand, what an agent left that was killed, and the extras."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import location
from keruta_agent.core import errors
from keruta_agent.git import url
from keruta_agent.git.clone import CloneOptions
from keruta_agent.git.repository import directory as directories
from keruta_agent.git.repository.notes import Notes
from tests.helpers.repositories import Repository, git, make_repository
from tests.integration.agent.workspace.conftest import BRANCH, Worker


@pytest.fixture
def worker(tmp_path: Path, repository: Repository) -> Worker:
    return Worker(tmp_path / "w" / "clone", str(repository.path))


def test_directory_with_something_else_is_left_as_it_is(worker: Worker) -> None:
    (worker.directory / "thesis.txt").write_text("years of work")
    with pytest.raises(errors.WorkspaceError, match="is not empty and holds no clone"):
        worker.prepare()
    assert [path.name for path in worker.directory.iterdir()] == ["thesis.txt"]


def test_clone_of_another_repository_is_left_as_it_is(worker: Worker, tmp_path: Path) -> None:
    other = make_repository(tmp_path / "other.git", {"other.txt": "x"})
    git(tmp_path, "clone", "--quiet", str(other.path), str(worker.directory))
    with pytest.raises(errors.WorkspaceError, match="holds another repository"):
        worker.prepare()
    assert git(worker.directory, "branch", "--show-current") == "main"


@pytest.fixture
def persons_clone(worker: Worker, repository: Repository) -> Path:
    git(worker.directory, "clone", "--quiet", str(repository.path), ".")
    return worker.directory


def test_clone_that_a_person_made_is_used_and_their_work_is_stashed(
    worker: Worker, persons_clone: Path
) -> None:
    (persons_clone / "README.md").write_text("# Mine\n")
    (persons_clone / "new.txt").write_text("new\n")
    place = worker.prepare()
    assert (place.branch, (persons_clone / "README.md").read_text()) == (BRANCH, "# A project\n")
    (said,) = [line for line in worker.said if "set aside" in line]
    git(persons_clone, "checkout", "--quiet", "main")
    git(persons_clone, "stash", "apply", said.rpartition(" ")[2])
    assert (persons_clone / "README.md").read_text() == "# Mine\n"
    assert (persons_clone / "new.txt").read_text() == "new\n"


def test_unfinished_merge_of_a_person_is_not_disturbed(
    worker: Worker, persons_clone: Path, repository: Repository
) -> None:
    repository.commit("main", {"README.md": "theirs\n"})
    (persons_clone / "README.md").write_text("mine\n")
    git(persons_clone, "commit", "--quiet", "--all", "--message", "mine")
    git(persons_clone, "fetch", "--quiet")
    with pytest.raises(AssertionError):
        git(persons_clone, "merge", "origin/main")
    before = (persons_clone / "README.md").read_text()
    with pytest.raises(errors.WorkspaceError, match="a merge is unfinished"):
        worker.prepare()
    assert (persons_clone / "README.md").read_text() == before
    assert (persons_clone / ".git" / "MERGE_HEAD").exists()


def test_lock_in_a_persons_clone_is_not_removed(worker: Worker, persons_clone: Path) -> None:
    lock = persons_clone / ".git" / "index.lock"
    lock.touch()
    (persons_clone / "new.txt").write_text("new\n")
    with pytest.raises(errors.WorkspaceError, match="remove the lock that it left"):
        worker.prepare()
    assert lock.exists()
    assert (persons_clone / "new.txt").exists()


def test_stale_locks_in_our_clone_are_removed(worker: Worker) -> None:
    worker.prepare()
    git_dir = worker.directory / ".git"
    locks = ["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock"]
    locks.append(f"refs/heads/{BRANCH}.lock")
    for name in locks:
        (git_dir / name).touch()
    worker.prepare()
    assert not [name for name in locks if (git_dir / name).exists()]
    assert sum("nobody held any more" in line for line in worker.said) == len(locks)


def test_lock_is_kept_while_a_git_runs_there(worker: Worker, repository: Repository) -> None:
    worker.prepare()
    lock = worker.directory / ".git" / "index.lock"
    lock.touch()
    (worker.directory / "new.txt").write_text("new\n")
    with subprocess.Popen(
        ["git", "cat-file", "--batch"], cwd=worker.directory, stdin=subprocess.PIPE
    ) as living:
        with pytest.raises(errors.WorkspaceError, match="Another git works there"):
            worker.prepare()
        assert lock.exists()
        assert living.stdin is not None
        living.stdin.close()
    worker.prepare()
    assert not lock.exists()


def test_half_clone_is_made_anew(worker: Worker) -> None:
    notes = Notes(git_dir=worker.directory / ".git")
    notes.begin_clone(worker.url.identity)
    (worker.directory / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert directories.look(worker.directory) is directories.Found.HALF_CLONE
    assert worker.prepare().branch == BRANCH


@pytest.mark.parametrize("left", [[], ["keruta"], ["keruta", "keruta/clone.json.0a1b"]])
def test_first_moment_of_a_clone_is_known_too(worker: Worker, left: list[str]) -> None:
    git_dir = worker.directory / ".git"
    git_dir.mkdir()
    for name in left:
        (git_dir / name).touch() if "." in name else (git_dir / name).mkdir()
    assert worker.prepare().branch == BRANCH


def test_broken_repository_of_somebody_is_not_taken_for_a_half_clone(worker: Worker) -> None:
    git(worker.directory, "init", "--quiet")
    with pytest.raises(errors.WorkspaceError, match="is no clone of the session's repository"):
        worker.prepare()
    assert (worker.directory / ".git" / "HEAD").exists()


def test_unfinished_rebase_of_a_script_is_set_aside(worker: Worker, repository: Repository) -> None:
    worker.prepare()
    theirs = repository.commit("main", {"README.md": "theirs\n"})
    (worker.directory / "README.md").write_text("ours\n")
    git(worker.directory, "commit", "--quiet", "--all", "--message", "ours")
    git(worker.directory, "fetch", "--quiet")
    with pytest.raises(AssertionError):
        git(worker.directory, "rebase", theirs)
    worker.prepare(task="22222222-1234-4ca2-b064-7a7a7672dd1a")
    assert git(worker.directory, "status", "--porcelain") == ""
    assert not (worker.directory / ".git" / "rebase-merge").exists()
    assert (worker.directory / "README.md").read_text() == "theirs\n"


def test_commits_on_a_detached_head_are_kept(worker: Worker) -> None:
    worker.prepare()
    git(worker.directory, "checkout", "--quiet", "--detach")
    git(worker.directory, "commit", "--quiet", "--allow-empty", "--message", "lost?")
    commit = git(worker.directory, "rev-parse", "HEAD")
    worker.prepare()
    assert git(worker.directory, "for-each-ref", f"--contains={commit}", "--format=%(refname)")


def test_rerun_continues_on_its_branch_or_restarts_it(worker: Worker) -> None:
    first = worker.prepare()
    git(worker.directory, "commit", "--quiet", "--allow-empty", "--message", "half")
    half = git(worker.directory, "rev-parse", "HEAD")
    assert worker.prepare().start == half
    again = worker.prepare(goes_on=False)
    assert again.start == first.base
    (said,) = [line for line in worker.said if "kept what an earlier run had" in line]
    assert git(worker.directory, "rev-parse", said.rpartition(" ")[2]) == half


def test_branch_of_another_task_with_the_same_short_id_gets_another_name(
    worker: Worker, repository: Repository
) -> None:
    twin = "12345678-ffff-4ca2-b064-7a7a7672dd1a"
    repository.commit(BRANCH, {"theirs.txt": "x"}, f"Theirs\n\nKeruta-Task: {twin}")
    place = worker.prepare()
    assert place.branch.startswith(f"{BRANCH}-")
    assert not (worker.directory / "theirs.txt").exists()
    assert worker.prepare(task=twin).branch == BRANCH


def test_submodules_are_brought(
    worker: Worker, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_repository(tmp_path / "library.git", {"lib.txt": "lib\n"})
    person = tmp_path / "person"
    git(tmp_path, "clone", "--quiet", str(repository.path), str(person))
    allowed = {"GIT_ALLOW_PROTOCOL": "file"}
    git(person, "submodule", "--quiet", "add", str(library.path), "lib", **allowed)
    git(person, "commit", "--quiet", "--message", "Add the library")
    git(person, "push", "--quiet", "origin", "main")
    with pytest.raises(errors.WorkspaceError, match="transport 'file' not allowed"):
        worker.prepare()
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    worker.prepare()
    assert (worker.directory / "lib" / "lib.txt").read_text() == "lib\n"


def test_large_files_are_mere_pointers_without_git_lfs_and_it_says_so(
    worker: Worker, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    repository.commit("main", {".gitattributes": "*.bin filter=lfs\n", "a.bin": pointer})
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "sh"):
        path = subprocess.run(
            ["/bin/sh", "-c", f"command -v {name}"], capture_output=True, text=True
        )
        (programs / name).symlink_to(path.stdout.strip())
    monkeypatch.setenv("PATH", str(programs))
    worker.prepare()
    assert any("Git LFS, which is not installed" in line for line in worker.said)


def test_mirror_is_shared_and_the_clone_does_not_need_it_afterwards(
    worker: Worker, tmp_path: Path, repository: Repository
) -> None:
    mirrors = tmp_path / "mirrors"
    worker.options = CloneOptions(mirrors=mirrors)
    worker.prepare()
    second = Worker(tmp_path / "w" / "second", str(repository.path))
    second.options = worker.options
    later = repository.commit("main", {"later.txt": "x"})
    assert second.prepare().base == later
    (mirror,) = mirrors.iterdir()
    assert git(mirror, "rev-parse", "main") == later
    shutil.rmtree(mirrors)
    git(second.directory, "fsck")
    assert second.prepare().base == later


def test_partial_clone_fetches_files_when_they_are_needed(
    worker: Worker, repository: Repository
) -> None:
    old = repository.commit("main", {"big.txt": "old " * 1000})
    repository.commit("main", {"big.txt": "new\n"})
    git(repository.path, "config", "uploadpack.allowFilter", "true")
    worker = Worker(worker.directory, str(repository.path))
    worker.options = CloneOptions(is_partial=True)
    worker.prepare()
    missing = git(worker.directory, "rev-list", "--objects", "--missing=print", "--all")
    assert "?" in missing
    assert git(worker.directory, "show", f"{old}:big.txt") == ("old " * 1000).strip()


def test_clones_of_the_same_name_get_directories_of_their_own(tmp_path: Path) -> None:
    ours, theirs = url.parse("https://a/x/app.git"), url.parse("https://b/y/app")
    first = location.choose(tmp_path, ours)
    assert first == tmp_path / "app"
    Notes(git_dir=first / ".git").begin_clone(ours.identity)
    Notes(git_dir=first / ".git").finish_clone(ours.identity)
    second = location.choose(tmp_path, theirs)
    assert second.name == f"app-{theirs.digest}"
    assert location.choose(tmp_path, ours) == first
    assert location.choose(tmp_path, url.parse("/srv/runs.git")).name.startswith("runs-")
