"""Services that most tests share; those about the pool's state have their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.repositories import Repository, git
from tests.helpers.runner_services import Around, runner_services


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Around]:
    with runner_services(tmp_path_factory.mktemp("services")) as started:
        yield started


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    path = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(path))
    made = Repository(path)
    made.commit("main", {"app.py": "answer = 41\n", ".gitignore": "*.log\n"})
    return made
