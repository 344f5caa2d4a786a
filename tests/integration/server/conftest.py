"""One application for all tests of its routes; each test works in sessions of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.server.application import create_application
from keruta_agent.server.serve import Server
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.databases import url_of
from tests.helpers.embedded_server import embedded_server


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    directory = tmp_path_factory.mktemp("store")
    opened = Store.open(directory, url_of(directory))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def api(store: Store) -> ApiCaller:
    return ApiCaller(create_application(store))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with embedded_server(tmp_path / "data") as started:
        yield started
