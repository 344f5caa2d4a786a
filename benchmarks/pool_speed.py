"""Measures a pool of runners: claims, and tasks that wait with 1, 2 and 4 workers."""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from keruta_agent.server.coding import attempts, tasks
from keruta_agent.server.store.store import Store
from tests.helpers.pool_kills import killed_pool
from tests.helpers.postgresql import running_postgresql

#: Tasks that one transaction files.
_AT_ONCE = 500
_CLAIMS = 300


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=20.0, help="what the model takes to answer")
    parser.add_argument("--tasks", type=int, default=4, help="for each worker")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--waiting", type=int, default=10_000)
    options = parser.parse_args()
    with running_postgresql() as server:
        for name, database in (("SQLite", None), ("PostgreSQL", server.fresh_database)):
            _print_claims(name, database, options.waiting)
        first: float | None = None
        for number in options.workers:
            with server.fresh_database() as url:
                rate = _rate(url, number, options.tasks * number, options.delay)
            first = first or rate
            print(f"{number} workers: {rate * 60:.2f} tasks a minute, {rate / first:.2f} x")


def _print_claims(
    name: str,
    database: Callable[[], contextlib.AbstractContextManager[str]] | None,
    waiting: int,
) -> None:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="keruta-claims-"))
        url = None if database is None else stack.enter_context(database())
        store = stack.enter_context(contextlib.closing(Store.open(Path(directory), url)))
        for _ in range(0, waiting, _AT_ONCE):
            with store.writing() as change:
                for number in range(_AT_ONCE):
                    tasks.file(change, {}, name="t", priority=number % 5, attempts=3)
        took = []
        used = time.process_time()
        for _ in range(_CLAIMS):
            began = time.perf_counter()
            claim = attempts.claim_next(store.database, "w", 60.0)
            took.append((time.perf_counter() - began) * 1000)
            assert claim is not None
        used_ms = (time.process_time() - used) / _CLAIMS * 1000
        parts = statistics.quantiles(took, n=100)
        middle = statistics.median(took)
        print(
            f"claim of {waiting} waiting tasks on {name}: best {min(took):.2f} ms, median"
            f" {middle:.2f}, 90 % below {parts[89]:.2f}, 99 % below {parts[98]:.2f};"
            f" {used_ms:.2f} ms of processor time here"
        )


def _rate(url: str, workers: int, number: int, delay_s: float) -> float:
    """Return how many tasks are done in a second."""
    with (
        tempfile.TemporaryDirectory(prefix="keruta-scaling-") as directory,
        killed_pool(
            Path(directory), delay_s=delay_s, database_url=url, queue_url=url, forks=False
        ) as pool,
    ):
        for _ in range(workers):
            pool.add_worker()
        began = time.monotonic()
        for each in range(number):
            pool.file(each)
        pool.wait_for_end(number * (delay_s + 60))
        took_s = time.monotonic() - began
        faults = pool.findings().faults
        assert not faults, faults
    return number / took_s


if __name__ == "__main__":
    main()
