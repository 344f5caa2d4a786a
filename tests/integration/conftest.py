"""What agents within the tests' process share: a double of the API, and shims without a fork."""

from __future__ import annotations

import pytest

from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION
from tests.helpers.shims import start_without_fork


@pytest.fixture
def api() -> InMemoryKerutaApi:
    api = InMemoryKerutaApi()
    api.add_session(SESSION)
    return api


@pytest.fixture(autouse=True)
def shims(monkeypatch: pytest.MonkeyPatch) -> None:
    start_without_fork(monkeypatch)
