"""The pruning of coding tasks that have ended, with their attempts.

One that is tried again meanwhile has no end any more, and stays.
"""

from __future__ import annotations

from typing import Final

from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import statement

_DUE: Final = "FROM coding_tasks WHERE ended_at IS NOT NULL AND ended_at < ?"
_SOME: Final = f"SELECT number {_DUE} ORDER BY ended_at, number LIMIT ?"
_REMOVE: Final = "DELETE FROM coding_tasks WHERE number IN"
_REMOVE_SOME: Final = statement(
    f"{_REMOVE} ({_SOME}) RETURNING number",
    postgresql=f"{_REMOVE} ({_SOME} FOR UPDATE SKIP LOCKED) RETURNING number",
)
_COUNT: Final = statement(f"SELECT COUNT(*) {_DUE}")


def remove(database: Database, end: int, most: int) -> int:
    """Remove some tasks that ended before then; return how many."""
    return len(database.run(_REMOVE_SOME, end, most).fetchall())


def count(database: Database, end: int) -> int:
    """Return how many tasks ended before then."""
    return int(database.run(_COUNT, end).fetchone()[0])
