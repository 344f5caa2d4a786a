"""The tables of the pool of runners. The number of an attempt is its fence."""

from __future__ import annotations

from typing import Final

STATEMENTS: Final = (
    """CREATE TABLE coding_tasks (
        number {counting_key},
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        context TEXT NOT NULL,
        priority INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        attempts_left INTEGER NOT NULL,
        worker TEXT,
        lease_until BIGINT,
        due_at BIGINT NOT NULL,
        announced_at BIGINT NOT NULL,
        cancel_reason TEXT,
        error TEXT,
        created_at BIGINT NOT NULL,
        started_at BIGINT,
        ended_at BIGINT
    )""",
    "CREATE INDEX coding_tasks_waiting ON coding_tasks (priority DESC, number)"
    " WHERE state = 'waiting'",
    "CREATE INDEX coding_tasks_state ON coding_tasks (state, number)",
    "CREATE INDEX coding_tasks_running ON coding_tasks (lease_until) WHERE state = 'running'",
    """CREATE TABLE coding_attempts (
        number {counting_key},
        task BIGINT NOT NULL REFERENCES coding_tasks (number) ON DELETE CASCADE,
        attempt INTEGER NOT NULL,
        worker TEXT NOT NULL,
        outcome TEXT,
        error TEXT,
        result TEXT,
        started_at BIGINT NOT NULL,
        ended_at BIGINT,
        UNIQUE (task, attempt)
    )""",
    """CREATE TABLE coding_workers (
        number {counting_key},
        id TEXT NOT NULL UNIQUE,
        host TEXT NOT NULL,
        version TEXT NOT NULL,
        concurrency INTEGER NOT NULL,
        is_draining INTEGER NOT NULL,
        registered_at BIGINT NOT NULL,
        seen_at BIGINT NOT NULL
    )""",
    """CREATE TABLE coding_pool (
        number {counting_key},
        paused TEXT,
        changed_at BIGINT NOT NULL
    )""",
    "INSERT INTO coding_pool (paused, changed_at) VALUES (NULL, 0)",
)

#: For the retention of ended tasks, and for the next one: SQLite prefers an index on the state with
#: a sort to one of waiting tasks alone.
ORDER: Final = (
    "CREATE INDEX coding_tasks_ended ON coding_tasks (ended_at, number) WHERE ended_at IS NOT NULL",
    "CREATE INDEX coding_tasks_next ON coding_tasks (state, priority DESC, number)",
    "DROP INDEX coding_tasks_waiting",
)
