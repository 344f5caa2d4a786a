"""The workers of the pool, as they say of themselves; leases of tasks do not depend on it."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from keruta_agent.server.coding.tasks import SECOND
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import Row, select, statement
from keruta_agent.server.store.tables import Tables

#: Seconds of silence after which a worker counts as gone.
ALIVE_S: Final = 30
#: Days of silence after which it is forgotten.
KEPT_DAYS: Final = 7
MOST_SHOWN: Final = 1_000

_FIND: Final = select("coding_workers", "id = ?")
_ALL: Final = select("coding_workers", f"seen_at > ? ORDER BY number LIMIT {MOST_SHOWN}")
_FORGET: Final = statement("DELETE FROM coding_workers WHERE seen_at < ?")
_LEAVE: Final = statement("DELETE FROM coding_workers WHERE id = ?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Worker:
    """A process that does coding tasks."""

    id: str
    host: str
    version: str
    concurrency: int


def see(database: Database, worker: Worker, *, is_draining: bool) -> None:
    """Note that a worker lives."""
    with database.writing():
        now = database.now()
        values = {
            "host": worker.host,
            "version": worker.version,
            "concurrency": worker.concurrency,
            "is_draining": int(is_draining),
            "seen_at": now,
        }
        if database.one(_FIND, worker.id) is None:
            database.insert("coding_workers", {"id": worker.id, "registered_at": now, **values})
            database.run(_FORGET, now - KEPT_DAYS * 24 * 3600 * SECOND)
        else:
            database.update("coding_workers", values, id=worker.id)


def leave(database: Database, worker: Worker) -> None:
    """Forget a worker that ends in order."""
    with database.writing():
        database.run(_LEAVE, worker.id)


def known(tables: Tables) -> list[Row]:
    """Return the workers that have been seen lately."""
    now = tables.database.now()
    return tables.database.all(_ALL, now - KEPT_DAYS * 24 * 3600 * SECOND)


def to_answer(row: Row, now: int) -> dict[str, Any]:
    """Return a worker as JSON, as ``WorkerAnswer`` documents it."""
    return {
        "id": row["id"],
        "host": row["host"],
        "version": row["version"],
        "concurrency": row["concurrency"],
        "isDraining": bool(row["is_draining"]),
        "isAlive": row["seen_at"] > now - ALIVE_S * SECOND,
        "registeredAt": t.date(row["registered_at"]),
        "seenAt": t.date(row["seen_at"]),
    }
