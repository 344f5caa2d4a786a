"""The pool as a whole: paused or not, and how much waits."""

from __future__ import annotations

from typing import Any, Final

from keruta_agent.server.coding import workers
from keruta_agent.server.coding.tasks import CodingState
from keruta_agent.server.store.statements import select, statement
from keruta_agent.server.store.store import Change
from keruta_agent.server.store.tables import Tables

_POOL: Final = select("coding_pool", "TRUE ORDER BY number LIMIT 1")
_SET: Final = statement("UPDATE coding_pool SET paused = ?, changed_at = ?")
_ANNOUNCE_ALL: Final = statement("UPDATE coding_tasks SET announced_at = 0 WHERE state = 'waiting'")
_COUNT: Final = statement("SELECT COUNT(*) FROM coding_tasks WHERE state = ?")


def set_paused(change: Change, reason: str | None) -> None:
    """Pause the pool for a reason, or resume it: what runs goes on to its end."""
    database = change.store.database
    database.run(_SET, reason, database.now())
    if reason is None:  # messages came and went meanwhile
        database.run(_ANNOUNCE_ALL)


def count(tables: Tables, state: CodingState) -> int:
    """Return how many tasks are in a state."""
    return int(tables.database.run(_COUNT, state.value).fetchone()[0])


def to_answer(tables: Tables) -> dict[str, Any]:
    """Return the pool as JSON, as ``PoolAnswer`` documents it."""
    pool = tables.database.one(_POOL)
    now = tables.database.now()
    return {
        "paused": None if pool is None else pool["paused"],
        "waiting": count(tables, CodingState.WAITING),
        "running": count(tables, CodingState.RUNNING),
        "workers": [workers.to_answer(row, now) for row in workers.known(tables)],
    }
