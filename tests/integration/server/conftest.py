"""One application for all tests of its routes; each test works in sessions of its own.

``KERUTA_TEST_DATABASE_URL`` runs them on an empty PostgreSQL database instead of SQLite;
with ``-n 0``, as parallel workers would share that one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.server.application import create_application
from keruta_agent.server.serve import Server
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.embedded_server import embedded_server


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    database_url = os.environ.get("KERUTA_TEST_DATABASE_URL")
    opened = Store.open(tmp_path_factory.mktemp("store"), database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def api(store: Store) -> ApiCaller:
    return ApiCaller(create_application(store))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with embedded_server(tmp_path / "data") as started:
        yield started
