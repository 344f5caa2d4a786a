"""What retention costs: the size of the database before and after, the time, how long writers wait.

An old session ends with many tasks and lines. First the logs go, then the session. Meanwhile
another process stores 100 lines at a time into a live session, as an agent's report does, and
measures each write; the same is measured without pruning before. In memory (--directory /dev/shm)
it is free of the waits for a busy disk.

python -m benchmarks.retention [--tasks 100000] [--lines 1000000] [--database-url postgresql://...]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from keruta_agent.server.retention import rounds
from keruta_agent.server.retention.policy import Limit, Policy
from keruta_agent.server.retention.pruner import Pruned
from keruta_agent.server.store import log_rows, session_rows, task_rows
from keruta_agent.server.store.periodic import rest_s
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.store import Change, Store

#: Rows of one statement while the database is filled.
AT_ONCE = 200_000
#: Seconds for which the writer is measured alone, and between two of its writes.
ALONE_S = 10.0
PAUSE_S = 0.02
LINE = "x" * 80


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waits:
    """How long writes took, in seconds."""

    number: int
    median: float
    p99: float
    longest: float

    def __str__(self) -> str:
        """Return them in milliseconds."""
        median, p99, longest = (1000 * each for each in (self.median, self.p99, self.longest))
        return f"{self.number} writes: median {median:.1f}, p99 {p99:.1f}, longest {longest:.0f} ms"


def make_session(store: Store, session_id: str) -> int:
    """Make a session with one task; return the task's number."""
    with store.writing() as change:
        _insert_session(change, session_id)
        row = task_rows.create(change, {"name": "task", "script": "true\n"}, session_id)
    return int(row["number"])


def _insert_session(change: Change, session_id: str) -> None:
    change.tables.sessions.insert(
        id=session_id,
        id_folded=session_id,
        name=session_id,
        name_folded=session_id,
        description="",
        status="ACTIVE",
        tags="[]",
        created_at=0,
        updated_at=0,
    ).execute()


def fill(store: Store, tasks: int, lines: int) -> None:
    """Give the old session its tasks and lines, and end all of it long ago."""
    first = make_session(store, "old")
    columns = [name for name in _columns("tasks") if name not in ("number", "id")]
    copied = ", ".join(f"task.{name}" for name in columns)
    series = "generate_series(?::bigint, ?::bigint) AS made (i)"
    recursive = (
        "(WITH RECURSIVE made (i) AS (SELECT ? UNION ALL SELECT i + 1 FROM made WHERE i < ?)"
        " SELECT i FROM made) AS made"
    )
    text = (
        f"INSERT INTO tasks (id, {', '.join(columns)})"
        f" SELECT 'old-' || made.i, {copied} FROM {{series}}, tasks AS task WHERE task.number = ?"
    )
    task_copy = _both(text, recursive, series)
    for start, stop in _parts(tasks - 1):
        _run(store, task_copy, start, stop, first)
    line_copy = _both(
        "INSERT INTO log_entries (task, level, source, message, logged_at)"
        f" SELECT ? + made.i - made.i / ? * ?, 'INFO', 'stdout', '{LINE}', made.i FROM {{series}}",
        recursive,
        series,
    )
    for start, stop in _parts(lines):
        _run(store, line_copy, first, tasks, tasks, start, stop)
    _run(store, statement("UPDATE tasks SET status = 'COMPLETED', ended_at = 1 + number"))
    _run(store, statement("UPDATE sessions SET status = 'COMPLETED', ended_at = 1"))


def _columns(table: str) -> tuple[str, ...]:
    from keruta_agent.server.store.tables import COLUMNS

    return COLUMNS[table]


def _both(text: str, recursive: str, series: str) -> Any:
    return statement(
        text.replace("{series}", recursive), postgresql=text.replace("{series}", series)
    )


def _parts(number: int) -> Iterator[tuple[int, int]]:
    for start in range(0, number, AT_ONCE):
        yield start, min(start + AT_ONCE, number) - 1


def _run(store: Store, made: Any, *values: Any) -> None:
    with store.database.connected(), store.database.transaction():
        store.database.run(made, *values)


def write(data: Path, url: str | None, ready: Event, stop: Event, told: Any) -> None:
    """Store lines until told to stop; tell how long each write took."""
    took = []
    with contextlib.closing(Store.open_beside(data, url)) as store:
        with store.database.connected():
            task = task_rows.find(store.tables, live_task(store))["number"]
        lines = [("INFO", "stdout", LINE, None, 0)] * 100
        ready.set()
        while not stop.is_set():
            began = time.monotonic()
            with store.writing():
                log_rows.insert(store.database, task, lines)
            took.append(time.monotonic() - began)
            time.sleep(PAUSE_S)
    told.put(took)


def live_task(store: Store) -> str:
    """Return the id of the live session's task."""
    session_rows.find(store.tables, "live")
    found = store.database.run(statement("SELECT id FROM tasks WHERE session_id = 'live'"))
    return str(found.fetchone()[0])


@contextlib.contextmanager
def writer(data: Path, url: str | None) -> Iterator[list[float]]:
    """Run the writer for the length of the block; the list is filled at its end."""
    context = multiprocessing.get_context("spawn")
    ready, stop, told = context.Event(), context.Event(), context.Queue()
    process = context.Process(target=write, args=(data, url, ready, stop, told))
    process.start()
    ready.wait(60)
    took: list[float] = []
    try:
        yield took
    finally:
        stop.set()
        took += told.get(timeout=120)
        process.join()


def waits(took: list[float]) -> Waits:
    """Sum up."""
    ordered = sorted(took)
    return Waits(
        number=len(ordered),
        median=ordered[len(ordered) // 2],
        p99=ordered[int(len(ordered) * 0.99)],
        longest=ordered[-1],
    )


def prune(store: Store, policy: Policy) -> Pruned:
    """Prune as the server's thread does, with its rests."""
    total = Pruned()
    began = time.monotonic()
    for pruned in rounds.prune(store, policy):
        total += pruned
        time.sleep(rest_s(time.monotonic() - began))
        began = time.monotonic()
    return total


def size(store: Store) -> int:
    """Return the bytes of the database."""
    if store.database.postgresql:
        with store.database.connected():
            found = store.database.run(statement("SELECT pg_database_size(current_database())"))
            return int(found.fetchone()[0])
    with store.database.connected():
        store.database.run(statement("PRAGMA wal_checkpoint(TRUNCATE)")).fetchall()
    return (store.directory.path / "server.db").stat().st_size


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--database-url")
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    data = Path(tempfile.mkdtemp(dir=options.directory))
    try:
        with contextlib.closing(Store.open(data, options.database_url)) as store:
            began = time.monotonic()
            fill(store, options.tasks, options.lines)
            make_session(store, "live")
            print(
                f"{options.tasks} tasks, {options.lines} lines in {time.monotonic() - began:.0f} s"
            )
            print(f"size {size(store) / 1e6:.0f} MB")
            with writer(data, options.database_url) as alone:
                time.sleep(ALONE_S)
            print(f"alone            {waits(alone)}")
            for name, policy in (
                ("logs", Policy(logs=Limit(age_s=86_400))),
                ("sessions", Policy(sessions=Limit(age_s=86_400))),
            ):
                with writer(data, options.database_url) as took:
                    began = time.monotonic()
                    total = prune(store, policy)
                    seconds = time.monotonic() - began
                print(f"pruning {name:<8} {waits(took)}; {seconds:.0f} s, {total}")
                print(f"size {size(store) / 1e6:.0f} MB")
    finally:
        shutil.rmtree(data)


if __name__ == "__main__":
    main()
