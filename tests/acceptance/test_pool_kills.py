"""``kill -9`` of workers and of the server, at random: each task ends once, and nothing is left."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.helpers.pool_kills import killed_pool
from tests.helpers.waiting import wait_until

#: Tasks, workers, and what is done to them; benchmarks/pool_kills.py does more of it.
TASKS = 8
WORKERS = 2
FAULTS = 5

#: Leases of five seconds end several times, and ten seconds pass before each further attempt.
pytestmark = pytest.mark.timeout(400)


@pytest.mark.parametrize("queue", ["database", "redis"])
def test_each_task_ends_once_whatever_is_killed(
    tmp_path: Path, postgresql_url: str, queue: str, request: pytest.FixtureRequest
) -> None:
    queue_url = request.getfixturevalue("redis_url") if queue == "redis" else postgresql_url
    chance = random.Random(7)
    with killed_pool(
        tmp_path, delay_s=0.3, database_url=postgresql_url, queue_url=queue_url
    ) as pool:
        for _ in range(WORKERS):
            pool.add_worker()
        for number in range(TASKS):
            pool.file(number)
        for _ in range(FAULTS):
            time.sleep(chance.uniform(0.1, 1.0))
            pool.disturb(chance)
        pool.wait_for_end(300)
        found = pool.findings()
    assert found.faults == ()
    assert found.states == {"succeeded": TASKS}


def test_runner_of_a_worker_that_slept_through_its_lease_pushes_nothing(tmp_path: Path) -> None:
    with killed_pool(tmp_path, delay_s=1.0) as pool:
        pool.add_worker()
        pool.file(1)
        wait_until(lambda: pool.model.requests, "the runner asks the model")
        pool.add_worker()
        with pool.asleep(0):
            wait_until(
                lambda: "feature/1-attempt-2" in pool.repository.branches, "another does it", 100
            )
        pool.wait_for_end(60)
        found = pool.findings()
    assert found.faults == ()
    assert found.outcomes == {"late": 1, "succeeded": 1}
    assert found.branches == 1
