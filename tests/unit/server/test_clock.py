"""The clock that servers of one database share."""

from __future__ import annotations

import pytest

from keruta_agent.server.store import clock
from keruta_agent.server.store.clock import DatabaseClock


class Moments:
    """Two clocks: that of the database, and one that nobody can set."""

    def __init__(self) -> None:
        self.database = 5_000_000
        self.monotonic = 100.0
        self.asked = 0

    def pass_by(self, seconds: float) -> None:
        self.database += round(seconds * 1_000_000)
        self.monotonic += seconds

    def read(self) -> int:
        self.asked += 1
        return self.database


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Moments:
    made = Moments()
    monkeypatch.setattr(clock.time, "monotonic", lambda: made.monotonic)
    return made


def test_clock_is_asked_once_and_counts_on(moments: Moments) -> None:
    shared = DatabaseClock(moments.read)
    for _ in range(10):
        assert shared.now() == moments.database
        moments.pass_by(5)
    assert moments.asked == 1


def test_clock_that_was_set_is_followed_within_a_minute(moments: Moments) -> None:
    shared = DatabaseClock(moments.read)
    shared.now()
    moments.database += 3600 * 1_000_000
    moments.pass_by(61)
    assert shared.now() == moments.database
    assert moments.asked == 2


def test_clock_that_cannot_be_asked_is_asked_again(moments: Moments) -> None:
    answers = iter([OSError("away"), 7])

    def read() -> int:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    shared = DatabaseClock(read)
    with pytest.raises(OSError, match="away"):
        shared.now()
    assert shared.now() == 7
