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
_COUNT: Final = statement("SELECT state, COUNT(*) FROM coding_tasks GROUP BY state")


def set_paused(change: Change, reason: str | None) -> None:
    """Pause the pool for a reason, or resume it: what runs goes on to its end."""
    database = change.store.database
    database.run(_SET, reason, database.now())
    if reason is None:  # messages came and went meanwhile
        database.run(_ANNOUNCE_ALL)


def counts(tables: Tables) -> dict[str, int]:
    """Return how many tasks are in each state."""
    found = dict(tables.database.run(_COUNT).fetchall())
    return {state.value: int(found.get(state.value, 0)) for state in CodingState}


def to_answer(tables: Tables) -> dict[str, Any]:
    """Return the pool as JSON, as ``PoolAnswer`` documents it."""
    pool = tables.database.one(_POOL)
    now = tables.database.now()
    states = counts(tables)
    return {
        "paused": None if pool is None else pool["paused"],
        "waiting": states[CodingState.WAITING],
        "running": states[CodingState.RUNNING],
        "states": states,
        "workers": [workers.to_answer(row, now) for row in workers.known(tables)],
    }
