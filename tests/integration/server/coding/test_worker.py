"""A worker takes what waits, renews, stops what is cancelled, drains, and loses nothing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keruta_agent.server.coding import announcements, attempts
from keruta_agent.server.coding.queue import open_queue
from keruta_agent.server.coding.worker import PoolWorker
from tests.helpers.coding_pool import (
    FAILED,
    LONG_S,
    SUCCEEDED,
    Pool,
    ScriptedExecution,
    ScriptedExecutor,
)
from tests.helpers.waiting import wait_until

StartWorker = Callable[..., PoolWorker]


class _Started:
    """A worker whose main loop is a thread of this process."""

    def __init__(self, pool: Pool, executor: ScriptedExecutor, **options: Any) -> None:
        queue = open_queue(pool.database, pool.data_dir, options.pop("queue_url", None))
        options = {"concurrency": 2, "lease_s": LONG_S} | options
        self.worker = PoolWorker(pool.database, queue, executor, **options)
        self.worker.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.worker.work_until, args=(self._stop.wait,))
        self._thread.start()
        self._is_over = False

    def drain(self, seconds: float) -> None:
        if not self._is_over:
            self._is_over = True
            self._stop.set()
            self._thread.join()
            self.worker.drain(seconds, threading.Event().wait)


@pytest.fixture
def start(pool: Pool) -> Iterator[Callable[..., _Started]]:
    with contextlib.ExitStack() as stack:

        def start_one(executor: ScriptedExecutor, **options: Any) -> _Started:
            started = _Started(pool, executor, **options)
            stack.callback(started.drain, 0)
            return started

        yield start_one


def _first(executor: ScriptedExecutor) -> ScriptedExecution:
    return wait_until(lambda: executor.started and executor.started[0], "a runner starts")


def test_tasks_are_done_and_their_results_stored(
    pool: Pool, start: Callable[..., _Started]
) -> None:
    start(ScriptedExecutor(lambda claim: FAILED if claim.name == "Task 2" else SUCCEEDED))
    filed = [pool.file(str(number)) for number in range(4)]
    wait_until(lambda: all(pool.task(each)["endedAt"] for each in filed), "all have ended")
    assert [pool.state(each) for each in filed] == ["succeeded", "succeeded", "failed", "succeeded"]


def test_no_more_than_its_concurrency_run_at_a_time(
    pool: Pool, start: Callable[..., _Started]
) -> None:
    executor = ScriptedExecutor()
    start(executor)
    for number in range(3):
        pool.file(str(number))
    wait_until(lambda: len(executor.started) == 2, "two runners start")
    wait_until(lambda: pool.api.get("/coding-pool")["waiting"] == 1, "one waits")
    executor.started[0].end(SUCCEEDED)
    wait_until(lambda: len(executor.started) == 3, "the third starts")
    for each in executor.started:
        each.end(SUCCEEDED)


def test_cancelled_task_stops_its_runner(pool: Pool, start: Callable[..., _Started]) -> None:
    executor = ScriptedExecutor()
    start(executor)
    task_id = pool.file()
    execution = _first(executor)
    assert execution.may_push()
    pool.api.send("POST", f"/coding-tasks/{task_id}/cancel", {})
    wait_until(execution.is_stopped.is_set, "the runner is stopped")
    wait_until(lambda: pool.state(task_id) == "cancelled", "the task is cancelled")


def test_runner_of_an_attempt_that_was_taken_away_is_stopped_and_may_not_push(
    pool: Pool, start: Callable[..., _Started]
) -> None:
    executor = ScriptedExecutor()
    start(executor)
    task_id = pool.file()
    execution = _first(executor)
    pool.let_pass()
    assert attempts.end_lapsed(pool.database) == [(task_id, "waiting")]
    wait_until(execution.is_stopped.is_set, "the runner is stopped")
    assert not execution.may_push()


def test_drained_worker_gives_back_what_does_not_end(
    pool: Pool, start: Callable[..., _Started]
) -> None:
    executor = ScriptedExecutor()
    started = start(executor)
    task_id = pool.file(attempts=1)
    _first(executor)
    started.drain(0)
    task = pool.task(task_id)
    assert (task["state"], task["attemptsLeft"]) == ("waiting", 1)
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["returned"]
    assert pool.api.get("/coding-pool")["workers"] == []


def test_task_whose_message_is_lost_is_done_all_the_same(
    pool: Pool, start: Callable[..., _Started]
) -> None:
    task_id = pool.file()
    assert len(announcements.due(pool.database)) == 1  # by a worker that died before it queued it
    start(ScriptedExecutor(lambda _: SUCCEEDED))
    pool.let_pass()
    wait_until(lambda: pool.state(task_id) == "succeeded", "it is done")


def test_worker_is_seen_at_the_pool(pool: Pool, start: Callable[..., _Started]) -> None:
    started = start(ScriptedExecutor(), concurrency=3)
    [worker] = pool.api.get("/coding-pool")["workers"]
    assert worker["id"] == started.worker.worker.id
    assert (worker["concurrency"], worker["isAlive"], worker["isDraining"]) == (3, True, False)


def test_workers_share_a_queue_in_redis(
    pool: Pool, start: Callable[..., _Started], redis_url: str
) -> None:
    executors = [ScriptedExecutor(lambda _: SUCCEEDED) for _ in range(2)]
    for executor in executors:
        start(executor, queue_url=redis_url)
    filed = [pool.file(str(number)) for number in range(10)]
    wait_until(lambda: all(pool.state(each) == "succeeded" for each in filed), "all are done")
    assert sum(len(executor.started) for executor in executors) == 10


def test_workers_share_a_queue_in_postgresql(
    pool: Pool, start: Callable[..., _Started], database_url: str | None
) -> None:
    if database_url is None:
        pytest.skip("the queue is beside a file")
    executors = [ScriptedExecutor(lambda _: SUCCEEDED) for _ in range(2)]
    for executor in executors:
        start(executor, queue_url=database_url)
    filed = [pool.file(str(number)) for number in range(10)]
    wait_until(lambda: all(pool.state(each) == "succeeded" for each in filed), "all are done")
    assert sum(len(executor.started) for executor in executors) == 10
