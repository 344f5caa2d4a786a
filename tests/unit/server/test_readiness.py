"""Whether a server says that it is ready."""

from __future__ import annotations

import threading

import pytest

from keruta_agent.server import readiness
from keruta_agent.server.readiness import Readiness


def _fail() -> None:
    raise OSError("secret words of the library")


def test_server_is_ready_when_all_that_it_needs_answers() -> None:
    asked: list[str] = []
    checks = {name: lambda name=name: asked.append(name) for name in ("the one", "the other")}
    assert Readiness(checks).obstacle() is None
    assert asked == ["the one", "the other"]


def test_server_is_not_ready_without_something_that_it_needs() -> None:
    found = Readiness({"the database": lambda: None, "the store of files": _fail})
    assert found.obstacle() == "the store of files does not answer: OSError"


def test_server_is_not_ready_once_it_stops() -> None:
    found = Readiness({})
    assert found.obstacle() is None
    found.stop()
    assert found.obstacle() == "the server is stopping"


def test_readiness_is_told_in_time_whatever_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT_S", 0.01)
    go_on, began = threading.Event(), []

    def hang() -> None:
        began.append(1)
        go_on.wait()

    found = Readiness({"the database": hang})
    for _ in range(3):
        assert found.obstacle() == "the database has not answered for 0 seconds"
    # One thread at most hangs.
    assert began == [1]
    go_on.set()
