"""A client whose wire is in the hands of the test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core.backoff import Backoff
from keruta_agent.http.client import http
from tests.helpers.keruta_wire import API, Sent, TaskBody


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BACKOFF", Backoff(0.0, 0.0))


@pytest.fixture
def wire() -> Iterator[requests_mock.Mocker]:
    with requests_mock.Mocker() as mocker:
        yield mocker


@pytest.fixture
def client() -> Iterator[KerutaClient]:
    with KerutaClient("http://keruta.test", token="s3cret-token") as client:
        yield client


@pytest.fixture
def sent(wire: requests_mock.Mocker) -> Sent:
    """Return the requests that were sent, as method and path with query."""

    def look() -> list[tuple[str, str]]:
        return [(request.method, request.url.removeprefix(API)) for request in wire.request_history]

    return look


@pytest.fixture
def task_body() -> TaskBody:
    def build(**fields: Any) -> dict[str, Any]:
        return {"id": "t1", "sessionId": "s1", "name": "Build", "status": "PENDING"} | fields

    return build
