"""The step of the schema that lets the server forget what is old."""

from __future__ import annotations

from typing import Final

from keruta_agent.core import model

_OVER: Final = ", ".join(f"'{state}'" for state in sorted(model.ENDED_SESSION_STATES))
_ENDED: Final = ", ".join(f"'{status}'" for status in model.TaskStatus if status.is_terminal)

#: When what ended, which is what its retention counts from; and what was pruned of it. Of older
#: ones it is not known better than when they were last changed.
STATEMENTS: Final = (
    "ALTER TABLE sessions ADD COLUMN ended_at BIGINT",
    "ALTER TABLE sessions ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0",
    f"UPDATE sessions SET ended_at = updated_at WHERE status IN ({_OVER})",  # noqa: S608
    "CREATE INDEX sessions_ended ON sessions (ended_at, number) WHERE ended_at IS NOT NULL",
    "ALTER TABLE tasks ADD COLUMN log_kept INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE tasks ADD COLUMN log_pruned_at BIGINT",
    "ALTER TABLE tasks ADD COLUMN artifacts_pruned_at BIGINT",
    "UPDATE tasks SET ended_at = updated_at"  # noqa: S608
    f" WHERE ended_at IS NULL AND status IN ({_ENDED})",
    "CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL",
    "CREATE INDEX tasks_log_kept ON tasks (ended_at, number)"
    " WHERE ended_at IS NOT NULL AND log_kept = 1",
)
