"""A thread does its work when it is due, at once when asked to, and no more once stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from keruta_agent.agent.queue.due_thread import DueThread
from tests.helpers.waiting import wait_until


@pytest.fixture
def thread() -> Iterator[DueThread]:
    made = DueThread("test", niceness=1)
    yield made
    made.stop()
    made.join(30)


def test_work_is_done_as_often_as_it_says(thread: DueThread) -> None:
    rounds: list[float] = []

    def work() -> float:
        rounds.append(time.monotonic())
        return 0.01 if len(rounds) < 3 else 3600.0

    thread.due_in(0.0)
    thread.start(work)
    wait_until(lambda: len(rounds) == 3, "three rounds")
    assert rounds[2] - rounds[0] >= 0.02


def test_earliest_wish_counts_also_one_from_before_the_start(thread: DueThread) -> None:
    done = threading.Event()
    thread.due_in(0.0)
    thread.due_in(3600.0)
    thread.start(lambda: float(done.set() or 3600.0))
    assert done.wait(30)


def test_thread_does_nothing_that_nobody_asked_for(thread: DueThread) -> None:
    done = threading.Event()
    thread.start(lambda: float(done.set() or 3600.0))
    assert not done.wait(0.1)
    thread.due_in(0.0)
    assert done.wait(30)


def test_wish_during_the_work_has_it_done_once_more(thread: DueThread) -> None:
    working, may_end = threading.Event(), threading.Event()
    rounds: list[int] = []

    def work() -> float:
        working.set()
        assert may_end.wait(30)
        rounds.append(1)
        return 3600.0

    thread.due_in(0.0)
    thread.start(work)
    assert working.wait(30)
    for _ in range(5):
        thread.due_in(0.0)
    may_end.set()
    wait_until(lambda: len(rounds) == 2, "it is done once more")


def test_stop_ends_a_pause_and_the_thread(thread: DueThread) -> None:
    pausing = threading.Event()

    def work() -> float:
        pausing.set()
        thread.pause(3600.0)
        return 0.0

    thread.due_in(0.0)
    thread.start(work)
    assert pausing.wait(30)
    thread.stop()
    thread.join(30)
    assert not thread.is_working()
    thread.revive()
    assert not thread.is_working()
