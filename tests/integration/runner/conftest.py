"""The project that most runs fix, and the services around them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import coding
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import Around, runner_services


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return coding.project(tmp_path / "project.git")


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Around]:
    with runner_services(tmp_path / "services", pool_size=2) as services:
        yield services
