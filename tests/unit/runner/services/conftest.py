"""Clients of the runner's services whose wire is in the hands of the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests_mock


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the pauses between tries instead of making them."""
    noted: list[float] = []
    monkeypatch.setattr("time.sleep", noted.append)
    return noted


@pytest.fixture
def wire() -> Iterator[requests_mock.Mocker]:
    with requests_mock.Mocker() as mocker:
        yield mocker
