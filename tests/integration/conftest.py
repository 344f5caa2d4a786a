"""The double of the API that stands beside most agents here."""

from __future__ import annotations

import pytest

from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION


@pytest.fixture
def api() -> InMemoryKerutaApi:
    api = InMemoryKerutaApi()
    api.add_session(SESSION)
    return api
