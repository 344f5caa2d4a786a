"""Submodules and large files are there for a run, in a slot as in a clone, and leave whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.testing.language_model import changes
from tests.helpers.coding import BRANCH, RIGHT, runner_with, slot_in, task
from tests.helpers.repositories import Repository, git, make_repository
from tests.helpers.runner_services import Around, runner_services
from tests.helpers.superprojects import SUBMODULE, Superproject

pytestmark = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")

LARGE = "large\n" * 1000


@pytest.fixture(params=["its own clone", "a slot of the pool", "a slot that was given"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Around]:
    if request.param != "a slot of the pool":
        yield request.param
        return
    with runner_services(tmp_path / "services", pool_size=1) as around:
        yield around


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Repository) -> Repository:
    """A project with a submodule, and with a large file on a server's address."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    library = make_repository(tmp_path / "library.git", {"lib.txt": "lib\n"})
    person = Superproject(repository, library, tmp_path / "person").person
    git(person, "remote", "set-url", "origin", repository.path.as_uri())
    git(person, "lfs", "install", "--local")
    git(person, "lfs", "track", "*.bin")
    (person / "a.bin").write_text(LARGE)
    git(person, "add", "--all")
    git(person, "commit", "--quiet", "--message", "Large files")
    git(person, "push", "--quiet", "origin", "HEAD:main")
    return repository


def test_tests_see_submodules_and_large_files_and_new_ones_reach_others(
    tmp_path: Path, project: Repository, place: str | Around
) -> None:
    around = place if isinstance(place, Around) else None
    fields = {}
    if place == "a slot that was given":
        slot = slot_in(tmp_path, project)
        git(slot, "remote", "set-url", "origin", project.path.as_uri())
        fields = {"slot_path": str(slot), "slot_id": "own"}
    answer = changes(
        {"file_path": "half.py", "operation": "modify", "content": RIGHT},
        {"file_path": "b.bin", "operation": "create", "content": LARGE * 2},
    )
    wanted = task(
        project,
        test_commands=[f"cat '{SUBMODULE}/lib.txt' && test $(wc -c < a.bin) = {len(LARGE)}"],
        metadata={"repo_url": project.path.as_uri()},
        **fields,
    )
    with runner_with(tmp_path, [answer], around) as (runner, _):
        result = runner.run(wanted)

    assert result.success, result.error
    assert project.file(BRANCH, "b.bin").startswith("version https://git-lfs")
    git(tmp_path, "clone", "--quiet", "--branch", BRANCH, project.path.as_uri(), "others")
    git(tmp_path / "others", "lfs", "install", "--local")
    git(tmp_path / "others", "lfs", "pull")
    assert (tmp_path / "others" / "a.bin").read_text() == LARGE
    assert (tmp_path / "others" / "b.bin").read_text() == LARGE * 2
