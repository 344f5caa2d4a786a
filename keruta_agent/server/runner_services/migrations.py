"""The schema of the runner's services, step by step."""

from __future__ import annotations

from typing import Final

from keruta_agent.core.migrations import Step, Steps

_FIRST: Final = (
    """CREATE TABLE registry_tasks (
        number {counting_key},
        spec_name TEXT NOT NULL,
        id TEXT NOT NULL,
        status TEXT NOT NULL,
        metadata TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        UNIQUE (id, spec_name)
    )""",
    "CREATE INDEX registry_tasks_spec ON registry_tasks (spec_name, number)",
    """CREATE TABLE registry_statuses (
        number {counting_key},
        task BIGINT NOT NULL REFERENCES registry_tasks (number) ON DELETE CASCADE,
        status TEXT NOT NULL,
        metadata TEXT NOT NULL,
        said_at REAL,
        at BIGINT NOT NULL
    )""",
    "CREATE INDEX registry_statuses_task ON registry_statuses (task, number)",
    """CREATE TABLE registry_events (
        number {counting_key},
        task BIGINT NOT NULL REFERENCES registry_tasks (number) ON DELETE CASCADE,
        event_type TEXT NOT NULL,
        data TEXT NOT NULL,
        said_at REAL,
        at BIGINT NOT NULL
    )""",
    "CREATE INDEX registry_events_task ON registry_events (task, number)",
    """CREATE TABLE registry_artifacts (
        number {counting_key},
        task BIGINT NOT NULL REFERENCES registry_tasks (number) ON DELETE CASCADE,
        type TEXT NOT NULL,
        uri TEXT NOT NULL,
        size_bytes BIGINT NOT NULL,
        metadata TEXT NOT NULL,
        said_at REAL,
        at BIGINT NOT NULL
    )""",
    "CREATE INDEX registry_artifacts_task ON registry_artifacts (task, number)",
    """CREATE TABLE slots (
        number {counting_key},
        id TEXT NOT NULL UNIQUE,
        repository TEXT NOT NULL,
        address TEXT NOT NULL,
        state TEXT NOT NULL,
        holder TEXT NOT NULL,
        lease_token TEXT NOT NULL,
        released_token TEXT NOT NULL,
        key TEXT NOT NULL,
        lease_s REAL NOT NULL,
        changed_at BIGINT NOT NULL
    )""",
    "CREATE INDEX slots_repository ON slots (repository)",
    """CREATE TABLE artifacts (
        number {counting_key},
        id TEXT NOT NULL UNIQUE,
        type TEXT NOT NULL,
        metadata TEXT NOT NULL,
        spec_name TEXT NOT NULL,
        task_id TEXT NOT NULL,
        size BIGINT NOT NULL,
        sha256 TEXT NOT NULL,
        created_at BIGINT NOT NULL
    )""",
    "CREATE INDEX artifacts_task ON artifacts (task_id, spec_name)",
    "CREATE INDEX artifacts_age ON artifacts (type, created_at)",
    """CREATE TABLE answers (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        status INTEGER NOT NULL,
        body TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (scope, key)
    )""",
    "CREATE INDEX answers_age ON answers (created_at)",
)

MIGRATIONS: Final[Steps] = (Step("0001_first", _FIRST),)
