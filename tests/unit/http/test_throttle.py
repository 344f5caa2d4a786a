"""Failed tries are counted by who tries."""

from __future__ import annotations

import pytest

from keruta_agent.http import throttle
from keruta_agent.http.problems import Problem
from keruta_agent.http.throttle import MOST_FAILURES, MOST_KEYS, WINDOW_S, Throttle


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])
    return now


def test_tries_are_looked_at_again_when_the_oldest_is_a_minute_old(clock: list[float]) -> None:
    counted = Throttle()
    for _ in range(MOST_FAILURES):
        counted.check("peer")
        counted.failed("peer")
        clock[0] += 1
    with pytest.raises(Problem) as refused:
        counted.check("other", "peer")
    assert refused.value.status == 429
    assert refused.value.headers["Retry-After"] == str(int(WINDOW_S) - MOST_FAILURES)
    counted.check("other")
    clock[0] += WINDOW_S - MOST_FAILURES
    counted.check("peer")


def test_memory_is_bounded(clock: list[float]) -> None:
    counted = Throttle()
    for number in range(MOST_KEYS + 1):
        counted.failed(str(number))
    assert not counted.has_failed("0")
    assert counted.has_failed("1")
    assert len(vars(counted)["_failures"]) == MOST_KEYS
