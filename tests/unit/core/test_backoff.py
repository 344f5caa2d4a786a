"""Delays grow, are spread, and have a limit."""

from __future__ import annotations

from keruta_agent.core.backoff import Backoff, spread


def test_delay_grows_from_the_first_to_the_longest() -> None:
    delays = Backoff(first_s=0.5, longest_s=5.0, jitter=0.0)
    assert [delays.delay_s(failures) for failures in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]
    assert Backoff(1.0, 100.0, factor=3.0, jitter=0.0).delay_s(3) == 9.0


def test_delay_has_its_limit_after_any_number_of_failures() -> None:
    assert Backoff(0.5, 30.0, jitter=0.0).delay_s(10**9) == 30.0


def test_delay_before_any_failure_is_the_first() -> None:
    assert Backoff(0.5, 30.0, jitter=0.0).delay_s(0) == 0.5


def test_delays_are_spread_to_both_sides() -> None:
    delays = [Backoff(8.0, 8.0, jitter=0.25).delay_s(1) for _ in range(200)]
    assert 6.0 <= min(delays) < 8.0 < max(delays) <= 10.0
    assert spread(8.0, 0.0) == 8.0
