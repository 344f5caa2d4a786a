"""What counts as healthy."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from tests.helpers.keruta_wire import API, SPRING_500

ROOT = "http://keruta.test/health"


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        ({"json": {"status": "UP", "message": "fine"}}, True),
        ({"json": {"status": "ok"}}, True),
        ({"json": {"status": "healthy"}}, True),
        ({"json": {}}, True),
        ({"text": ""}, True),
        ({"json": {"status": "DOWN"}}, False),
        ({"status_code": 503, "json": {"status": "DOWN"}}, False),
        ({"status_code": 401}, False),
        ({"status_code": 204}, False),
        ({"text": "<html>welcome</html>"}, False),
        ({"json": ["UP"]}, False),
    ],
)
def test_health_follows_the_first_route(
    answer: dict[str, Any], healthy: bool, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/health", **answer)

    health = client.health()

    assert health.healthy is healthy
    assert healthy or health.detail
    assert wire.call_count == 1


def test_health_uses_the_root_route_where_the_first_is_missing(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/health", status_code=404)
    wire.get(ROOT, json={"status": "UP"})

    assert client.health().healthy


def test_health_of_a_server_with_neither_route_is_an_answer(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/health", **SPRING_500)
    wire.get(ROOT, status_code=404)

    health = client.health()

    assert not health.healthy
    assert "500" in health.detail


def test_health_of_no_server_is_an_error(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/health", exc=requests.ConnectTimeout)

    with pytest.raises(errors.ApiUnreachable, match="KERUTA_API_URL"):
        client.health()
