"""A task in its session's repository: real git, real processes, the in-memory API."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from keruta_agent.agent.journey import workspace
from keruta_agent.core.model import TaskStatus
from keruta_agent.core.settings.sources import load_settings
from keruta_agent.git import url
from tests.helpers.agents import SESSION
from tests.helpers.repositories import Repository, git
from tests.helpers.workspace_world import BRANCH, OTHER_TASK, TASK, World


def test_task_runs_in_the_repository_on_a_branch_of_its_own(world: World) -> None:
    world.run("pwd; git branch --show-current; echo $KERUTA_GIT_BRANCH; cat README.md")
    assert world.api.log_text(TASK, "stdout").splitlines() == [
        str(world.workspace),
        BRANCH,
        BRANCH,
        "# A project",
    ]


def test_repository_is_cloned_into_the_working_directory(world: World, tmp_path: Path) -> None:
    world.flags["working_dir"] = tmp_path / "作業 場"
    world.run("pwd; echo $KERUTA_WORKING_DIR; git branch --show-current")
    where = str(tmp_path / "作業 場")
    assert world.api.log_text(TASK, "stdout").splitlines() == [where, where, BRANCH]


def test_clones_are_in_the_home_unless_the_base_directory_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    repository = url.parse("https://host/o/app.git")
    plain = load_settings({}, {"HOME": str(tmp_path)}).settings
    assert workspace.directory_for(plain, repository) == tmp_path / "keruta" / "app"
    chosen = load_settings({"base_dir": "/srv/agent"}, {"HOME": str(tmp_path)}).settings
    assert workspace.directory_for(chosen, repository) == Path("/srv/agent/app")


def test_changes_are_committed_and_pushed_to_the_branch_only(world: World) -> None:
    before = world.repository.branches["main"]
    task = world.run(
        "echo 今日は > あいさつ.txt; keruta success --message 'Said hello'", name="挨拶"
    )
    assert task.status is TaskStatus.COMPLETED
    assert world.repository.file(BRANCH, "あいさつ.txt") == "今日は"
    assert world.repository.branches["main"] == before
    assert world.repository.task_branches == [BRANCH]
    commit = world.repository.branches[BRANCH][:12]
    assert task.message == f"Said hello (pushed {commit} to {BRANCH}: 1 file changed, +1 -0)"
    lines = world.repository.message(BRANCH).splitlines()
    assert lines[:3] == [f"挨拶 ({TASK})", "", "Said hello"]
    assert lines[4] == f"Keruta-Task: {TASK}"
    assert lines[5] == f"Keruta-Session: {SESSION}"
    assert re.fullmatch("Keruta-Run: [0-9a-f]{16}", lines[6])


def test_result_is_in_the_log_with_its_metadata(world: World) -> None:
    world.run("echo x > new.txt")
    (reported,) = [e for e in world.api.logs(TASK) if "commit" in e.metadata]
    assert reported.metadata == {
        "section": "workspace",
        "branch": BRANCH,
        "commit": world.repository.branches[BRANCH],
        "files": 1,
        "insertions": 1,
        "deletions": 0,
    }
    assert "clones" in world.log()


def test_nothing_to_commit_is_no_error_and_pushes_nothing(world: World) -> None:
    task = world.run("true")
    assert task.status is TaskStatus.COMPLETED
    assert task.message == ""
    assert world.repository.task_branches == []


def test_next_task_starts_from_the_ref_as_it_is_now(world: World) -> None:
    world.run("echo x > new.txt")
    world.repository.commit("main", {"later.txt": "later\n"})
    world.run("ls", task_id=OTHER_TASK)
    assert world.api.log_text(OTHER_TASK, "stdout").split() == ["README.md", "later.txt"]


@pytest.mark.parametrize("kind", ["branch", "tag", "commit", "short commit"])
def test_session_ref_may_be_a_branch_a_tag_or_a_commit(world: World, kind: str) -> None:
    commit = world.repository.commit("feature/x", {"x.txt": "x\n"})
    git(world.repository.path, "tag", "v1.0", commit)
    world.repository.commit("main", {"later.txt": "later\n"})
    names = {"branch": "feature/x", "tag": "v1.0", "commit": commit, "short commit": commit[:9]}
    world.set_ref(names[kind])
    world.run("ls; echo $KERUTA_GIT_BASE")
    assert world.api.log_text(TASK, "stdout").split() == ["README.md", "x.txt", commit]


def test_ref_that_is_not_there_fails_the_task_and_says_so(world: World) -> None:
    world.set_ref("no-such-branch")
    task = world.run("echo ran")
    assert (task.status, task.error_code) == (TaskStatus.FAILED, "NOT_STARTED")
    assert "has no branch, tag or commit no-such-branch. Correct the session's" in task.message
    assert world.api.log_text(TASK, "stdout") == ""


def test_repository_without_commits_gets_its_first_one_on_the_branch(
    world: World, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(empty))
    session = world.api.sessions[SESSION]
    world.api.sessions[SESSION] = dataclasses.replace(
        session, repository_url=str(empty), repository_ref="main"
    )
    task = world.run("echo x > first.txt")
    assert "Pushed" in task.message
    assert Repository(empty).files(BRANCH) == ["first.txt"]


def test_failed_run_is_stashed_under_a_ref_and_the_next_task_starts_clean(world: World) -> None:
    task = world.run("echo half > half.txt; echo more >> README.md; exit 3")
    assert task.error_code == "EXIT_3"
    ref = re.search(r"refs/keruta/failed/\S+(?=\))", task.message)
    assert ref is not None
    assert world.repository.task_branches == []
    world.run("git status --porcelain; ls", task_id=OTHER_TASK)
    assert world.api.log_text(OTHER_TASK, "stdout").split() == ["README.md"]
    git(world.workspace, "stash", "apply", ref.group())
    assert (world.workspace / "half.txt").read_text() == "half\n"
    assert (world.workspace / "README.md").read_text() == "# A project\nmore\n"


def test_failed_run_is_pushed_to_its_own_branch_by_setting(world: World) -> None:
    world.flags["git_on_failure"] = "push"
    task = world.run("echo half > half.txt; exit 3")
    assert task.error_code == "EXIT_3"
    assert world.repository.task_branches == [f"{BRANCH}-failed"]
    assert world.repository.file(f"{BRANCH}-failed", "half.txt") == "half"


def test_run_that_took_too_long_is_pushed_to_the_failed_branch_too(world: World) -> None:
    world.flags["git_on_failure"] = "push"
    task = world.run("echo half > half.txt; sleep 60", parameters={"timeout": "500ms"})
    assert task.error_code == "TIMED_OUT"
    assert world.repository.task_branches == [f"{BRANCH}-failed"]


def test_failed_run_is_left_in_place_by_setting(world: World) -> None:
    world.flags["git_on_failure"] = "keep"
    world.run("echo half > half.txt; exit 3")
    assert (world.workspace / "half.txt").read_text() == "half\n"


def test_push_can_be_switched_off(world: World) -> None:
    world.flags["git_disable_auto_push"] = "true"
    task = world.run("echo x > new.txt")
    assert re.search(f"[Cc]ommitted [0-9a-f]{{12}} on {BRANCH}, not pushed", task.message)
    assert world.repository.task_branches == []
    assert git(world.workspace, "log", "-1", "--format=%s") == f"{task.name} ({TASK})"


@pytest.mark.parametrize("required", [False, True])
def test_refused_push_is_reported_and_fails_the_task_only_by_setting(
    world: World, required: bool
) -> None:
    hook = world.repository.path / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no branches on Fridays >&2; exit 1\n")
    hook.chmod(0o755)
    world.flags["git_require_push"] = str(required).lower()
    task = world.run("echo x > new.txt; keruta success --message done")
    assert task.message.startswith("done (its changes were not pushed: ")
    assert "no branches on Fridays" in task.message
    assert "no branches on Fridays" in world.log()
    if required:
        assert (task.status, task.error_code) == (TaskStatus.FAILED, "NOT_PUSHED")
    else:
        assert task.status is TaskStatus.COMPLETED


def test_what_somebody_else_pushed_to_the_branch_is_taken_in(world: World) -> None:
    world.repository.commit(BRANCH, {"theirs.txt": "theirs\n"}, "Theirs")
    script = f"""
        export GIT_AUTHOR_NAME=p GIT_AUTHOR_EMAIL=p GIT_COMMITTER_NAME=p GIT_COMMITTER_EMAIL=p
        git clone -q -b {BRANCH} {world.repository.path} {world.directory}/person
        cd {world.directory}/person
        echo more > more.txt; git add .; git commit -qm More; git push -q origin {BRANCH}
        cd -; echo ours > ours.txt"""
    task = world.run(script)
    assert "Pushed" in task.message
    assert world.repository.files(BRANCH) == ["README.md", "more.txt", "ours.txt", "theirs.txt"]
    assert "somebody else pushed" in world.log()


def test_known_secret_is_not_committed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "correct-horse-battery")
    task = world.run("echo 'password: correct-horse-battery' > config.yml")
    assert "config.yml holds a secret that the agent knows" in task.message
    assert "correct-horse" not in task.message + world.log()
    assert world.repository.task_branches == []


def test_secret_in_a_commit_of_the_script_is_not_pushed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "correct-horse-battery")
    task = world.run(
        "echo correct-horse-battery > a; git add a; git commit -qm a; git rm -q a; git commit -qm b"
    )
    assert "a holds a secret that the agent knows" in task.message
    assert world.repository.task_branches == []


def test_file_over_the_limit_is_not_committed(world: World) -> None:
    world.flags["git_max_file_size"] = "1KB"
    task = world.run("head -c 2000 /dev/zero > large.bin")
    assert "large.bin has 2000B, a file may have 1KB" in task.message
    assert world.repository.task_branches == []


def test_ignored_files_and_artifacts_are_not_committed(world: World) -> None:
    world.repository.commit("main", {".gitignore": "*.log\n"})
    world.flags["artifacts_dir"] = str(world.workspace / "out")
    task = world.run("echo x > a.log; echo x > $KERUTA_ARTIFACTS_DIR/report.txt; echo x > b.txt")
    assert "1 file changed" in task.message
    assert world.repository.files(BRANCH) == [".gitignore", "README.md", "b.txt"]


def test_session_without_a_repository_runs_as_ever(world: World) -> None:
    session = world.api.sessions[SESSION]
    world.api.sessions[SESSION] = dataclasses.replace(session, repository_url=None)
    task = world.run("pwd; env | grep -c KERUTA_GIT || true")
    assert task.status is TaskStatus.COMPLETED
    where = world.directory / "base" / "work" / SESSION
    assert world.api.log_text(TASK, "stdout").split() == [str(where), "0"]
