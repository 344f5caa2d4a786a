"""A real git server over http: what works, and what a person reads when it does not."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import commit, push
from keruta_agent.agent.workspace.push import Target
from keruta_agent.git.config.environment import with_settings
from keruta_agent.git.problems import GitError, Problem
from tests.helpers.git_http import PASSWORD, USER, GitHttpServer, git_http_server
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import BRANCH, LIMITS, SESSION, TASK, Worker


@pytest.fixture
def server(tmp_path: Path, repository: Repository) -> Iterator[GitHttpServer]:
    git(repository.path, "config", "http.receivepack", "true")
    with git_http_server(tmp_path) as server:
        yield server


@pytest.fixture
def worker(tmp_path: Path, server: GitHttpServer, repository: Repository) -> Worker:
    return Worker(tmp_path / "w" / "clone", server.url(repository), token=PASSWORD)


def change_and_push(worker: Worker, text: str = "x\n") -> str:
    place = worker.prepare()
    (worker.directory / "new.txt").write_text(text)
    clone = worker.open()
    message = commit.Message(name="n", task_id=TASK, session_id=SESSION, run_uid="r")
    assert commit.commit_all(clone, place, message, LIMITS, worker.said.append)
    target = Target(branch=place.branch, protected=frozenset({"main"}))
    return push.push(clone, target, LIMITS, worker.said.append)


def test_clone_fetch_and_push_with_a_token(worker: Worker, repository: Repository) -> None:
    worker.prepare()
    later = repository.commit("main", {"later.txt": "later\n"})
    assert worker.prepare().base == later
    pushed = change_and_push(worker)
    assert repository.branches[BRANCH] == pushed


def test_login_in_the_address_works_and_stays_out_of_it(
    tmp_path: Path, server: GitHttpServer, repository: Repository
) -> None:
    address = f"http://{USER}:{PASSWORD}@{server.host}/project.git"
    worker = Worker(tmp_path / "w" / "clone", address)
    worker.prepare()
    config = (worker.directory / ".git" / "config").read_text()
    assert f"url = {server.url(repository)}\n" in config
    assert PASSWORD not in config


@pytest.mark.parametrize("token", ["wrong-password-8842", None])
def test_wrong_or_missing_password_says_what_to_set_up(
    tmp_path: Path, server: GitHttpServer, repository: Repository, token: str | None
) -> None:
    worker = Worker(tmp_path / "w" / "clone", server.url(repository), token=token)
    with pytest.raises(GitError) as caught:
        worker.prepare()
    assert caught.value.problem is Problem.AUTHENTICATION
    assert "GIT_TOKEN" in str(caught.value)
    story = "".join(traceback.format_exception(caught.value)) + repr(worker.credentials)
    assert "wrong-password-8842" not in story
    assert not (worker.directory / "README.md").exists()


def test_repository_that_is_not_there_is_named(tmp_path: Path, server: GitHttpServer) -> None:
    worker = Worker(tmp_path / "w" / "clone", f"http://{server.host}/none.git", token=PASSWORD)
    with pytest.raises(GitError) as caught:
        worker.prepare()
    assert caught.value.problem is Problem.NOT_FOUND
    assert "none.git" in str(caught.value)


def test_server_that_hangs_is_given_up(worker: Worker, server: GitHttpServer) -> None:
    server.hangs = True
    worker.timeout_s = 1.0
    with pytest.raises(GitError) as caught:
        worker.prepare()
    assert caught.value.problem is Problem.TIMED_OUT
    assert "git took longer than 1s" in str(caught.value)
    server.hangs = False
    worker.timeout_s = 20.0
    assert worker.prepare().branch == BRANCH


def test_server_that_is_away_is_distinguished_from_one_that_refuses(
    tmp_path: Path, worker: Worker
) -> None:
    away = Worker(tmp_path / "w" / "away", "http://127.0.0.1:1/project.git", token=PASSWORD)
    with pytest.raises(GitError) as caught:
        away.prepare()
    assert caught.value.problem is Problem.UNREACHABLE


def test_clone_that_broke_off_is_not_taken_for_a_whole_one(
    worker: Worker, server: GitHttpServer, repository: Repository
) -> None:
    repository.commit("main", {"large.bin": "0123456789abcdef" * 4000})
    server.break_off, server.break_off_after = 2, 400
    with pytest.raises(GitError) as caught:
        worker.prepare()
    assert caught.value.problem is Problem.BROKEN_OFF
    server.break_off = 0
    assert worker.prepare().branch == BRANCH
    assert "removes a clone that was never finished" in worker.said
    assert (worker.directory / "large.bin").stat().st_size == 64_000


def test_push_whose_answer_was_lost_is_known_to_have_arrived(
    worker: Worker, server: GitHttpServer, repository: Repository
) -> None:
    server.break_off_at = "git-receive-pack"
    worker.prepare()
    server.break_off, server.break_off_after = 1, 0
    pushed = change_and_push(worker)
    assert repository.branches[BRANCH] == pushed
    assert repository.count(BRANCH) == 2


def test_token_is_sent_to_the_repositorys_host_only(
    tmp_path: Path, worker: Worker, repository: Repository, server: GitHttpServer
) -> None:
    assert worker.credentials is not None
    with worker.credentials.handed_over() as (settings, descriptor):
        variables = with_settings({**os.environ, "GIT_TERMINAL_PROMPT": "0"}, settings)

        def ask(scheme: str, host: str) -> str:
            return subprocess.run(
                ["git", "credential", "fill"],
                env=variables,
                input=f"protocol={scheme}\nhost={host}\n\n",
                pass_fds=(descriptor,),
                capture_output=True,
                text=True,
                check=False,
            ).stdout

        for scheme in ("http", "https"):
            assert f"username={USER}\npassword={PASSWORD}\n" in ask(scheme, server.host)
            for other in ("evil.example", f"{server.host}.evil.example", f"x{server.host}"):
                assert PASSWORD not in ask(scheme, other)
        assert PASSWORD not in " ".join(value for _, value in settings)
