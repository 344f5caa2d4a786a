"""A task in its session's repository: real git, real processes, the in-memory API."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent import errors
from keruta_agent.journey import run
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.mend import mend_failures
from keruta_agent.journey.poll import SessionPoll
from keruta_agent.journey.section import Section
from keruta_agent.model import Session, Task, TaskStatus
from keruta_agent.records.jobs import Job, StopKind
from keruta_agent.records.run import Run
from keruta_agent.runs import processes
from keruta_agent.runs.directory import About
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import agent_in
from tests.helpers.git_http import PASSWORD, USER, git_http_server
from tests.helpers.repositories import Repository, git, make_repository
from tests.helpers.waiting import wait_until
from tests.integration.journey.conftest import SESSION, deliver

TASK = "6f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10"
BRANCH = "keruta-task-11111111-6f0c1c1e"


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("GIT_TOKEN", "GIT_ASKPASS", "GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "project.git")


class World:
    """One agent and the session that it serves."""

    def __init__(self, directory: Path, repository: Repository) -> None:
        self.directory = directory
        self.repository = repository
        self.api = InMemoryKerutaApi()
        self.flags: dict[str, object] = {"session_id": SESSION, "auto_fix": "false"}
        self.api.add_session(SESSION, repository_url=str(repository.path))

    @property
    def workspace(self) -> Path:
        return self.directory / "base" / "project"

    def set_ref(self, ref: str) -> None:
        session = self.api.sessions[SESSION]
        self.api.sessions[SESSION] = dataclasses.replace(session, repository_ref=ref)

    def run(self, script: str, *, task_id: str = TASK, **fields: object) -> Task:
        """Runs a task to its end and returns it."""
        task = self.api.add_task(SESSION, script, id=task_id, **fields)
        with agent_in(self.directory, self.api, **self.flags) as agent:
            finish(agent, self.api)
        return self.api.task(task.id)

    def output(self, task_id: str = TASK) -> str:
        """What scripts and hooks wrote, without the marks around the hooks' output."""
        lines = self.api.log_text(task_id, "stdout").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("::"))

    def log(self, task_id: str = TASK) -> str:
        return self.api.log_text(task_id, "agent")


def finish(agent: Agent, api: InMemoryKerutaApi) -> None:
    """Takes the session's tasks and brings each to its end, as the daemon would."""
    SessionPoll(agent, api).poll()
    while run.run_next(agent) is not None:
        mend_failures(agent)
    deliver(agent)


@pytest.fixture
def world(tmp_path: Path, repository: Repository) -> World:
    return World(tmp_path, repository)


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
    (told,) = [e for e in world.api.logs(TASK) if "commit" in e.metadata]
    assert told.metadata == {
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
    other = "7f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10"
    world.run("ls", task_id=other)
    assert world.api.log_text(other, "stdout").split() == ["README.md", "later.txt"]


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
    other = "7f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10"
    world.run("git status --porcelain; ls", task_id=other)
    assert world.api.log_text(other, "stdout").split() == ["README.md"]
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
def test_refused_push_is_told_and_fails_the_task_only_by_setting(
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


@pytest.fixture
def hooks_world(world: World) -> Iterator[World]:
    world.repository.commit(
        "main", {".keruta/install.sh": "echo installing $KERUTA_GIT_BRANCH; touch installed\n"}
    )
    yield world


def test_install_script_runs_once_per_clone_and_once_per_change_of_it(hooks_world: World) -> None:
    ids = [f"{number}f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10" for number in range(3)]
    hooks_world.run("true", task_id=ids[0])
    hooks_world.run("true", task_id=ids[1])
    hooks_world.repository.commit("main", {".keruta/install.sh": "echo installing anew\n"})
    hooks_world.run("true", task_id=ids[2])
    outputs = [hooks_world.output(task_id) for task_id in ids]
    assert outputs[0].startswith("installing keruta-task-")
    assert outputs[1:] == ["", "installing anew\n"]


def test_install_script_that_fails_fails_the_task_with_its_output(hooks_world: World) -> None:
    hooks_world.repository.commit("main", {".keruta/install.sh": "echo no compiler; exit 4\n"})
    task = hooks_world.run("echo ran")
    assert task.error_code == "NOT_STARTED"
    assert ".keruta/install.sh exited with code 4" in task.message
    assert hooks_world.output() == "no compiler\n"


def test_hooks_of_the_settings_run_around_the_task(world: World, tmp_path: Path) -> None:
    for name, text in {
        "before": "echo before",
        "after": "echo after $KERUTA_OUTCOME; echo formatted >> new.txt",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
    world.flags |= {"pre_task_hook": tmp_path / "before", "post_task_hook": tmp_path / "after"}
    world.run("echo script; echo x > new.txt")
    assert world.output().splitlines() == ["before", "script", "after succeeded"]
    assert world.repository.file(BRANCH, "new.txt") == "x\nformatted"
    entries = world.api.logs(TASK)
    groups = {e.message: e.metadata.get("keruta", {}).get("group") for e in entries}
    assert groups["before"] == "the pre-task hook"
    assert groups["script"] is None
    assert groups["after succeeded"] == "the post-task hook"


def test_hook_that_takes_too_long_is_ended(world: World, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\necho begins\nsleep 60\n")
    world.flags |= {"pre_task_hook": hook, "hook_timeout_s": "300ms"}
    task = world.run("echo ran")
    assert "the pre-task hook took longer than 300ms" in task.message
    assert world.output() == "begins\n"


def test_cancel_ends_a_clone_that_hangs(world: World, tmp_path: Path) -> None:
    with git_http_server(tmp_path) as server:
        server.hangs = True
        session = world.api.sessions[SESSION]
        hanging = dataclasses.replace(session, repository_url=server.url(world.repository))
        world.api.sessions[SESSION] = hanging
        task = world.api.add_task(SESSION, "echo ran", id=TASK)
        with agent_in(tmp_path, world.api, **world.flags) as agent:
            SessionPoll(agent, world.api).poll()
            worker = threading.Thread(target=run.run_next, args=(agent,))
            worker.start()
            wait_until(lambda: server.requests, "git has asked the server")
            job = agent.jobs.by_task(TASK)
            assert job is not None
            agent.jobs.request_stop(job.id, StopKind.CANCELLED, "A person cancelled it")
            worker.join(20)
            assert not worker.is_alive()
            ended = agent.jobs.get(job.id)
            assert ended is not None
            assert (ended.outcome, ended.message) == ("cancelled", "A person cancelled it")
            (found,) = agent.runs.of_job(job.id)
            assert processes.marked_processes(found.uid) == []
            deliver(agent)
    assert world.api.task(task.id).error_code == "CANCELLED"


def test_clone_that_broke_off_is_tried_again(world: World, tmp_path: Path) -> None:
    world.repository.commit("main", {"large.txt": "0123456789abcdef" * 4000})
    with git_http_server(tmp_path) as server:
        session = world.api.sessions[SESSION]
        address = server.url(world.repository).replace("//", f"//{USER}:{PASSWORD}@")
        world.api.sessions[SESSION] = dataclasses.replace(session, repository_url=address)
        git(world.repository.path, "config", "http.receivepack", "true")
        # The first answer is a list of branches, which is shorter than that.
        server.break_off, server.break_off_after = 2, 400
        task = world.run("echo x > new.txt")
    assert "Pushed" in task.message
    assert "tries again in 1 s" in world.log()
    assert PASSWORD not in world.log() + task.message
    files = [path for path in (tmp_path / "base").rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


def test_api_that_is_away_holds_nothing_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.add_task(SESSION, "echo x > new.txt", id=TASK)
    with agent_in(world.directory, world.api, **world.flags) as agent:
        SessionPoll(agent, world.api).poll()

        def away(session_id: str) -> Session:
            raise errors.ApiUnreachable("nobody answers")

        monkeypatch.setattr(world.api, "session", away)
        assert run.run_next(agent) is not None
    assert world.repository.task_branches == [BRANCH]


def test_run_goes_on_where_another_agent_was_killed_before_its_script(world: World) -> None:
    world.api.add_task(SESSION, "echo ran; echo x > new.txt", id=TASK)
    with agent_in(world.directory, world.api, **world.flags) as agent:
        SessionPoll(agent, world.api).poll()
        claimed = agent.runs.claim_next()
        assert claimed is not None
        job, left = claimed
        agent.directory_of(left).create()
        agent.directory_of(left).write_about(about(job, left))
        section = Section(agent, job, left)
        section.say("said before the agent was killed")
        with section.group("a hook") as output, output.open("a") as file:
            file.write("written before the agent was killed")
        section.look(final=True)
        finish(agent, world.api)
    assert "said before" in world.log()
    assert world.log().count("on branch") == 1
    assert world.output() == "written before the agent was killed\nran\n"
    assert world.repository.task_branches == [BRANCH]


def about(job: Job, left: Run) -> About:
    return About(
        uid=left.uid,
        number=left.number,
        job_id=job.id,
        filed_at=job.filed_at,
        task_id=job.task_id,
        session_id=job.session_id,
        name=job.name,
        priority=job.priority,
    )


def test_script_gets_the_token_only_if_it_may_see_it(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_TOKEN", PASSWORD)
    script = "git push -q origin HEAD:keruta-by-script && echo pushed || echo refused"
    with git_http_server(tmp_path) as server:
        git(world.repository.path, "config", "http.receivepack", "true")
        session = world.api.sessions[SESSION]
        world.api.sessions[SESSION] = dataclasses.replace(
            session, repository_url=server.url(world.repository)
        )
        world.flags |= {"git_token": PASSWORD, "git_username": USER}
        world.run(f"echo token=${{GIT_TOKEN:-none}}; {script}")
        world.flags["pass_environment"] = "GIT_TOKEN"
        other = "7f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10"
        world.run(script, task_id=other)
    assert world.api.log_text(TASK, "stdout") == "token=none\nrefused\n"
    assert world.api.log_text(other, "stdout") == "pushed\n"
