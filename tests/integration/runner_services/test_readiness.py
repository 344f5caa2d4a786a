"""Whether requests may be sent to the runner's services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.helpers.runner_services import Around, runner_services


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Around]:
    with runner_services(tmp_path, token="secret") as started:
        yield started


def _statuses(around: Around) -> set[int]:
    """Ask each service without a token."""
    return {
        requests.get(f"{url}/health/ready", timeout=20).status_code for url in around.urls.values()
    }


def test_services_are_ready_until_they_drain(around: Around) -> None:
    assert _statuses(around) == {200}
    around.services.begin_drain()
    assert _statuses(around) == {503}


def test_services_are_not_ready_without_their_store(around: Around, tmp_path: Path) -> None:
    [directory] = tmp_path.rglob("artifacts")
    away = directory.rename(directory.with_name("away"))
    assert _statuses(around) == {503}
    away.rename(directory)
    assert _statuses(around) == {200}
