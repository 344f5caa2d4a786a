"""Coding tasks on both databases."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.coding_pool import Pool


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str | None:
    """The URL of an empty database, None for a file."""
    if request.param == "sqlite":
        return None
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def pool(tmp_path: Path, database_url: str | None) -> Iterator[Pool]:
    with contextlib.closing(Store.open(tmp_path / "data", database_url)) as store:
        yield Pool(store, ApiCaller(create_application(store)), tmp_path / "data")
