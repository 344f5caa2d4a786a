"""What the acceptance tests share: a workplace, and a real server with a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.server.serve import Server
from tests.helpers.api import Api
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import Process, Workplace, free_port, workplace_in


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    with workplace_in(tmp_path) as found:
        yield found


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a worker, which keep apart by their sessions."""
    with embedded_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def api(workplace: Workplace, server: Server) -> Api:
    """A session of its own on a server that outlives the test; the commands speak to it."""
    found = Api(server.url)
    _point_at(workplace, found)
    return found


@pytest.fixture
def mortal_api(workplace: Workplace) -> tuple[Process, Api]:
    """A server as a process of its own, which the test may stop and start again."""
    server, url = workplace.server(free_port())
    found = Api(url)
    _point_at(workplace, found)
    return server, found


def _point_at(workplace: Workplace, api: Api) -> None:
    workplace.environment["KERUTA_API_URL"] = api.url
    workplace.environment["KERUTA_SESSION_ID"] = api.session_id
