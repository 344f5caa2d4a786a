"""Each contract test runs against the double and against the client with the embedded server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.api import KerutaClient
from keruta_agent.server.serve import Server
from tests.contract.worlds import DoubleWorld, ServerWorld, World
from tests.helpers.embedded_server import embedded_server

TOKEN = "contract-token"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir: Path = tmp_path_factory.mktemp("server")
    with embedded_server(data_dir, token=TOKEN) as server:
        yield server


@pytest.fixture(params=["double", "embedded server"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "double":
        yield DoubleWorld()
        return
    server: Server = request.getfixturevalue("server")
    with KerutaClient(server.url, token=TOKEN) as client:
        world = ServerWorld(client, server.url, TOKEN)
        yield world
        world.close()
