"""The pool's token goes to the hosts that it is meant for, and is written nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.server.runner_services import clones
from tests.helpers.git_http import PASSWORD, USER, GitHttpServer, git_http_server
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import runner_services


@pytest.fixture
def served(tmp_path: Path, repository: Repository) -> Iterator[GitHttpServer]:
    with git_http_server(tmp_path) as server:
        yield server


def _files_with_the_password(directory: Path) -> list[Path]:
    return [
        path
        for path in directory.rglob("*")
        if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]


def test_token_is_used_for_a_host_that_it_is_meant_for(
    served: GitHttpServer, repository: Repository, tmp_path: Path
) -> None:
    access = GitAccess(token=PASSWORD, username=USER, token_hosts=(f"http://{served.host}",))

    with runner_services(tmp_path / "services", git=access) as around:
        slot = around.pool.allocate_slot(served.url(repository), required_by="a")
        assert (slot.slot_path / "app.py").exists()

    assert _files_with_the_password(tmp_path / "services") == []


def test_token_is_not_given_to_a_host_that_somebody_names(
    served: GitHttpServer, repository: Repository, tmp_path: Path
) -> None:
    access = GitAccess(token=PASSWORD, username=USER)

    with (
        runner_services(tmp_path / "services", git=access) as around,
        pytest.raises(errors.SlotAllocationError, match="REPOSITORY_UNUSABLE") as caught,
    ):
        around.pool.allocate_slot(served.url(repository), required_by="a")

    assert PASSWORD not in str(caught.value)


def test_password_in_an_address_is_used_and_not_kept(
    served: GitHttpServer, repository: Repository, tmp_path: Path
) -> None:
    address = served.url(repository).replace("http://", f"http://{USER}:{PASSWORD}@")

    with runner_services(tmp_path / "services") as around:
        slot = around.pool.allocate_slot(address, required_by="a")
        status = around.pool.get_slot_status(slot.slot_id)

    assert status["repo_url"] == served.url(repository)
    assert _files_with_the_password(tmp_path / "services") == []


def test_server_that_hangs_takes_no_slot_for_good(
    served: GitHttpServer,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served.hangs = True
    monkeypatch.setattr(clones, "TIMEOUT_S", 0.5)
    access = GitAccess(token=PASSWORD, username=USER, token_hosts=(f"http://{served.host}",))

    with runner_services(tmp_path / "services", git=access, pool_size=1) as around:
        for _ in range(2):
            with pytest.raises(errors.SlotAllocationError, match="took longer"):
                around.pool.allocate_slot(served.url(repository), required_by="a")
