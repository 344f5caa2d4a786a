"""Kills workers and the server of a pool of runners at random, and looks whether anything is lost.

Every task must end once, on a branch of a recorded attempt; no process and no directory may stay.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.pool_kills import Findings, KilledPool, killed_pool
from tests.helpers.postgresql import running_postgresql
from tests.helpers.redis import running_redis

#: Seconds that the last tasks may take after the last kill.
_END_S = 600.0
#: Seconds between two faults, at most.
_PAUSE_S = 4.0


def main() -> int:
    """Print what became of it; exit with 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--delay", type=float, default=1.0, help="what the model takes to answer")
    parser.add_argument("--queue", choices=("postgresql", "redis"), default="postgresql")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="keruta-kills-"))
        server = stack.enter_context(running_postgresql())
        url = stack.enter_context(server.fresh_database())
        queue = stack.enter_context(running_redis()) if options.queue == "redis" else None
        pool = stack.enter_context(
            killed_pool(
                Path(directory),
                delay_s=options.delay,
                database_url=url,
                queue_url=queue or url,
                forks=False,
            )
        )
        for _ in range(options.workers):
            pool.add_worker()
        began = time.monotonic()
        _disturb(pool, options.tasks, options.seconds, chance)
        pool.wait_for_end(_END_S)
        took_s = time.monotonic() - began
        found = pool.findings()
    print(f"{options.tasks} tasks, {options.workers} workers, queue in {options.queue}: ", end="")
    print(f"{took_s:.0f} s, seed {options.seed}")
    return _print(pool, found)


def _disturb(pool: KilledPool, tasks: int, seconds: float, chance: random.Random) -> None:
    """File the tasks bit by bit, and kill meanwhile and until the time is over."""
    began = time.monotonic()
    filed = 0
    while (passed := time.monotonic() - began) < seconds or filed < tasks:
        due = min(tasks, 10 + round(tasks * passed / (seconds * 0.6)))
        while filed < due:
            filed += 1
            pool.file(filed)
        time.sleep(chance.uniform(0.2, _PAUSE_S))
        if passed < seconds:
            pool.disturb(chance)


def _print(pool: KilledPool, found: Findings) -> int:
    print("faults  ", dict(pool.faults))
    print("tasks   ", dict(found.states))
    print("attempts", dict(found.outcomes), "refused at their push:", found.refused)
    print("branches", found.branches)
    for fault in found.faults:
        print("WRONG:", fault)
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
