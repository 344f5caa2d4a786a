"""Pushes that meet other people's: nothing is lost, and nothing of theirs is overwritten."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import commit, push
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.agent.workspace.push import PushRefusedError, Target
from keruta_agent.git import scan
from keruta_agent.git.repository import maintenance
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import BRANCH, LIMITS, SESSION, TASK, Worker


@pytest.fixture
def worker(tmp_path: Path, repository: Repository) -> Worker:
    return Worker(tmp_path / "w" / "clone", str(repository.path))


def change(worker: Worker, place: Place, name: str, text: str = "x\n") -> None:
    (worker.directory / name).write_text(text)
    message = commit.Message(name=name, task_id=TASK, session_id=SESSION, run_uid=name)
    assert commit.commit_all(worker.open(), place, message, LIMITS, worker.said.append)


def deliver(worker: Worker, place: Place, *, force: bool = False) -> str:
    target = Target(branch=place.branch, protected=frozenset({"main"}), force=force)
    return push.push(worker.open(), target, LIMITS, worker.said.append)


def test_two_agents_on_one_branch_lose_nothing(tmp_path: Path, repository: Repository) -> None:
    workers = [Worker(tmp_path / "w" / name, str(repository.path)) for name in ("a", "b")]
    for number in range(3):
        places = [worker.prepare() for worker in workers]
        for worker, place in zip(workers, places, strict=True):
            change(worker, place, f"{worker.directory.name}-{number}")
        threads = [
            threading.Thread(target=deliver, args=pair)
            for pair in zip(workers, places, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = sorted(f"{name}-{number}" for name in "ab" for number in range(3))
    assert repository.files(BRANCH) == sorted(["README.md", *expected])
    assert repository.count(BRANCH) == 7


@pytest.mark.parametrize("force", [False, True])
def test_contradicting_commit_of_a_person_is_never_overwritten(
    worker: Worker, repository: Repository, force: bool
) -> None:
    change(worker, worker.prepare(), "file.txt", "first\n")
    deliver(worker, worker.prepare())
    theirs = repository.commit(BRANCH, {"file.txt": "theirs\n"}, "Theirs")
    place = worker.prepare(goes_on=False)
    change(worker, place, "file.txt", "ours\n")
    with pytest.raises(PushRefusedError, match="contradicts the task's changes"):
        deliver(worker, place, force=force)
    assert repository.branches[BRANCH] == theirs
    assert git(worker.directory, "show", f"{BRANCH}:file.txt") == "ours"
    assert not (worker.directory / ".git" / "rebase-merge").exists()


def test_own_push_of_before_is_overwritten_by_setting_only(
    worker: Worker, repository: Repository
) -> None:
    change(worker, worker.prepare(), "file.txt", "first\n")
    deliver(worker, worker.prepare())
    place = worker.prepare(goes_on=False)
    change(worker, place, "file.txt", "second\n")
    with pytest.raises(PushRefusedError):
        deliver(worker, place)
    pushed = deliver(worker, place, force=True)
    assert repository.branches[BRANCH] == pushed
    assert repository.count(BRANCH) == 2


@pytest.mark.parametrize("branch", ["main", "develop", "keruta-task-protected"])
def test_no_branch_but_a_tasks_is_pushed_to(
    worker: Worker, repository: Repository, branch: str
) -> None:
    worker.prepare()
    protected = frozenset({"main", "keruta-task-protected"})
    before = repository.branches
    with pytest.raises(PushRefusedError, match="is no branch of a task"):
        push.push(worker.open(), Target(branch=branch, protected=protected), LIMITS, print)
    assert repository.branches == before


def test_push_that_is_done_again_changes_nothing(worker: Worker, repository: Repository) -> None:
    place = worker.prepare()
    change(worker, place, "file.txt")
    assert deliver(worker, place) == deliver(worker, place) == repository.branches[BRANCH]
    message = commit.Message(name="n", task_id=TASK, session_id=SESSION, run_uid="r")
    again = commit.commit_all(worker.open(), place, message, LIMITS, worker.said.append)
    assert again == repository.branches[BRANCH]


def test_script_that_commits_by_itself_elsewhere_is_taken_along_if_it_went_on_from_there(
    worker: Worker,
) -> None:
    place = worker.prepare()
    git(worker.directory, "checkout", "--quiet", "-b", "my-idea")
    change(worker, place, "idea.txt")
    assert git(worker.directory, "branch", "--show-current") == BRANCH
    assert any("branch my-idea" in line for line in worker.said)


def test_script_that_ends_on_unrelated_commits_is_refused(
    worker: Worker, repository: Repository
) -> None:
    repository.commit("old", {"old.txt": "x"})
    repository.commit("main", {"later.txt": "x"})
    place = worker.prepare()
    git(worker.directory, "checkout", "--quiet", "origin/old")
    (worker.directory / "new.txt").write_text("x")
    message = commit.Message(name="n", task_id=TASK, session_id=SESSION, run_uid="r")
    with pytest.raises(scan.RefusedError, match="on a detached HEAD, which does not hold"):
        commit.commit_all(worker.open(), place, message, LIMITS, worker.said.append)
    assert (worker.directory / "new.txt").exists()


def test_repository_inside_of_the_repository_is_neither_committed_nor_removed(
    worker: Worker, repository: Repository
) -> None:
    place = worker.prepare()
    inner = worker.directory / "vendor" / "inner"
    inner.mkdir(parents=True)
    git(inner, "init", "--quiet")
    (inner / "file.txt").write_text("x")
    change(worker, place, "file.txt")
    deliver(worker, place)
    assert "vendor" not in " ".join(repository.files(BRANCH))
    worker.prepare(task="22222222-1234-4ca2-b064-7a7a7672dd1a")
    assert (inner / "file.txt").exists()


def test_identity_is_the_repositorys_else_ours_without_touching_any_configuration(
    worker: Worker, repository: Repository
) -> None:
    place = worker.prepare()
    change(worker, place, "one.txt")
    assert git(worker.directory, "log", "-1", "--format=%an %ae") == (
        "keruta-agent keruta-agent@localhost"
    )
    git(worker.directory, "config", "user.name", "太郎")
    git(worker.directory, "config", "user.email", "taro@example.com")
    change(worker, place, "two.txt")
    assert git(worker.directory, "log", "-1", "--format=%an %ae") == "太郎 taro@example.com"


def test_secret_that_only_a_merge_brings_is_not_pushed(
    worker: Worker, repository: Repository
) -> None:
    repository.commit("other", {"other.txt": "x"})
    place = worker.prepare()
    change(worker, place, "mine.txt")
    git(worker.directory, "merge", "--quiet", "--no-ff", "--no-commit", "origin/other")
    (worker.directory / "merged.txt").write_text("hunter22-and-more")
    git(worker.directory, "add", "--all")
    git(worker.directory, "commit", "--quiet", "--message", "merge")
    with pytest.raises(scan.RefusedError, match=r"merged\.txt holds a secret"):
        deliver(worker, place)
    assert BRANCH not in repository.branches


def test_secret_that_a_file_held_before_is_no_news(worker: Worker, repository: Repository) -> None:
    repository.commit("main", {"config.txt": "hunter22-and-more\n"})
    place = worker.prepare()
    change(worker, place, "config.txt", "hunter22-and-more\nchanged\n")
    assert deliver(worker, place) == repository.branches[BRANCH]


def test_many_changed_files_are_looked_at_by_a_few_gits(worker: Worker) -> None:
    place = worker.prepare()
    for number in range(300):
        (worker.directory / f"file-{number}").write_text(f"{number}\n" * 10)
    (worker.directory / "日本語 の\n名前").write_text("hunter22-and-more")
    message = commit.Message(name="n", task_id=TASK, session_id=SESSION, run_uid="r")
    with pytest.raises(scan.RefusedError, match="日本語 の\n名前 holds a secret"):
        commit.commit_all(worker.open(), place, message, LIMITS, worker.said.append)
    assert git(worker.directory, "diff", "--cached", "--name-only") == ""


def test_house_is_kept_when_there_is_much_to_pack(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.prepare()
    # git guesses from the objects in one of 256 directories.
    for number in range(1000):
        (worker.directory / f"file-{number}").write_text(f"{number}\n")
    git(worker.directory, "add", "--all")
    git(worker.directory, "commit", "--quiet", "--message", "many")
    monkeypatch.setattr(maintenance, "_MANY_OBJECTS", 1)
    maintenance.keep_house(worker.git())
    assert "count: 0" in git(worker.directory, "count-objects", "--verbose")
