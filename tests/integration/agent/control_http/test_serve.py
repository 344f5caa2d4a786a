"""The daemon's HTTP API on its port: taken early, answered late, free again in the end."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from keruta_agent.agent.control.http.serve import HttpApi
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.core import errors
from tests.helpers.agent_http import services_of
from tests.helpers.agents import settings_in

PATIENCE_S = 30.0
ASK = b"GET /api/v1/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def api(agent: Agent) -> Iterator[HttpApi]:
    api = HttpApi(settings_in(agent.settings.base_dir.parent, daemon_port=0))
    yield api
    api.stop()


def _start(api: HttpApi, agent: Agent) -> None:
    api.start(services_of(agent).control, dict)


def _connect(api: HttpApi) -> socket.socket:
    address = urlsplit(api.url)
    connected = socket.create_connection((str(address.hostname), address.port or 0))
    connected.settimeout(PATIENCE_S)
    return connected


def test_who_asks_before_the_start_is_answered_after_it(api: HttpApi, agent: Agent) -> None:
    with _connect(api) as early:
        early.sendall(ASK)
        _start(api, agent)
        assert early.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("has_started", [True, False])
def test_port_is_free_after_the_end(api: HttpApi, agent: Agent, has_started: bool) -> None:
    port = urlsplit(api.url).port or 0
    with pytest.raises(errors.AgentStateError, match="in use"):
        HttpApi(settings_in(agent.settings.base_dir.parent, daemon_port=port))
    if has_started:
        _start(api, agent)
    api.stop()
    api.stop()
    with contextlib.closing(socket.socket()) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))


def test_stop_ends_an_open_stream_with_a_hint(api: HttpApi, agent: Agent) -> None:
    _start(api, agent)
    token = (agent.settings.base_dir / "http-token").read_text(encoding="ascii").strip()
    with _connect(api) as listener:
        listener.sendall(
            b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
        )
        received = b""
        while b"event: connected" not in received:
            received += listener.recv(65536)
        api.stop()
        while piece := listener.recv(65536):
            received += piece
    assert b"retry: " in received
    assert received.endswith(b"0\r\n\r\n")  # a whole answer
