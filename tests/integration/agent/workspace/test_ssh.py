"""A real git server over ssh."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import push
from keruta_agent.agent.workspace.push import Target
from keruta_agent.git.problems import GitError, Problem
from tests.helpers.git_ssh import GitSshServer, git_ssh_server, need_sshd
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import BRANCH, LIMITS, Worker


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitSshServer]:
    need_sshd()
    with git_ssh_server(tmp_path / "ssh") as server:
        yield server


@pytest.fixture
def worker(tmp_path: Path, server: GitSshServer, repository: Repository) -> Worker:
    return Worker(tmp_path / "w" / "clone", server.url(repository))


def test_clone_fetch_and_push_with_a_key(
    worker: Worker, server: GitSshServer, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", server.command())
    worker.prepare()
    later = repository.commit("main", {"later.txt": "later\n"})
    assert worker.prepare().base == later
    git(worker.directory, "commit", "--quiet", "--allow-empty", "--message", "x")
    target = Target(branch=BRANCH, protected=frozenset({"main"}))
    pushed = push.push(worker.open(), target, LIMITS, worker.said.append)
    assert repository.branches[BRANCH] == pushed


@pytest.mark.parametrize(
    ("knows_host", "has_key", "problem", "advice"),
    [
        (False, True, Problem.HOST_KEY, "known_hosts"),
        (True, False, Problem.AUTHENTICATION, "ssh agent"),
    ],
)
def test_unknown_host_or_key_says_what_to_set_up(
    worker: Worker,
    server: GitSshServer,
    monkeypatch: pytest.MonkeyPatch,
    knows_host: bool,
    has_key: bool,
    problem: Problem,
    advice: str,
) -> None:
    command = server.command(knows_host=knows_host, has_key=has_key)
    monkeypatch.setenv("GIT_SSH_COMMAND", command)
    with pytest.raises(GitError) as caught:
        worker.prepare()
    assert caught.value.problem is problem
    assert advice in str(caught.value)


def test_unknown_host_is_no_question_without_any_settings_for_ssh(
    worker: Worker, server: GitSshServer
) -> None:
    with pytest.raises(GitError) as caught:
        worker.prepare()
    assert caught.value.problem is Problem.HOST_KEY


def test_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        worker = Worker(tmp_path / "w" / "clone", f"ssh://git@127.0.0.1:{port}/r.git")
        worker.timeout_s = 1.0
        with pytest.raises(GitError) as caught:
            worker.prepare()
    assert caught.value.problem is Problem.TIMED_OUT
