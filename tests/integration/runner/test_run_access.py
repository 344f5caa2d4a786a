"""Runs whose git server wants a password: who gets it, and who does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.git.access.credentials import GitAccess
from tests.helpers import coding
from tests.helpers.coding import (
    BRANCH,
    RIGHT,
    TESTS,
    runner_with,
    says,
    slot_in,
    task,
)
from tests.helpers.git_http import PASSWORD, USER, GitHttpServer, git_http_server
from tests.helpers.repositories import Repository, git
from tests.helpers.runner_services import Around, runner_services


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[GitHttpServer, Repository]]:
    """A git server that wants a password."""
    root = tmp_path / "served"
    root.mkdir()
    repository = coding.project(root / "project.git")
    git(repository.path, "config", "http.receivepack", "true")
    with git_http_server(root) as server:
        yield server, repository


def test_password_in_the_address_of_a_task_is_used_and_kept_nowhere(
    tmp_path: Path, around: Around, served: tuple[GitHttpServer, Repository]
) -> None:
    server, repository = served
    address = server.url(repository).replace("http://", f"http://{USER}:{PASSWORD}@")
    with runner_with(tmp_path, coding.fixing, around) as (runner, model):
        result = runner.run(task(metadata={"repo_url": address}))

    assert result.success, result.error
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")
    stored = json.dumps(around.registry.get_task("1.1", spec_name="数学"))
    assert PASSWORD not in f"{result}{stored}{model.requests}"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path


def test_token_is_not_sent_to_a_host_that_a_task_names(
    tmp_path: Path,
    served: tuple[GitHttpServer, Repository],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, repository = served
    slot = slot_in(tmp_path, repository)
    git(slot, "remote", "set-url", "origin", server.url(repository))
    monkeypatch.setenv("GIT_TOKEN", PASSWORD)
    with runner_with(tmp_path, says(RIGHT), git_username=USER) as (runner, model):
        result = runner.run(task(slot_path=str(slot)))

    assert (result.success, result.error_type) == (False, "WorkspacePreparationError")
    assert "KERUTA_GIT_TOKEN_HOSTS" in str(result.error)
    assert not any("git-upload-pack " in request for request in server.requests)
    assert model.requests == []


def test_git_server_that_wants_a_password_gets_it_and_nobody_else(
    tmp_path: Path,
    served: tuple[GitHttpServer, Repository],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, repository = served
    monkeypatch.setenv("GIT_TOKEN", PASSWORD)
    asking = 'printf "protocol=http\\nhost=%s\\n\\n" "$(git remote get-url origin | cut -d/ -f3)"'
    tests = f"{asking} | git credential fill; {TESTS}"
    with (
        runner_services(
            tmp_path / "services",
            git=GitAccess(token=PASSWORD, username=USER, token_hosts=(f"http://{server.host}",)),
        ) as around,
        runner_with(
            *(tmp_path, coding.fixing, around),
            git_username=USER,
            git_token_hosts=(f"http://{server.host}",),
        ) as (runner, _),
    ):
        context = task(test_commands=[tests], metadata={"repo_url": server.url(repository)})
        result = runner.run(context)

    assert result.success, result.error
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")
    assert any("git-receive-pack" in request for request in server.requests)
    assert PASSWORD not in str(result)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
