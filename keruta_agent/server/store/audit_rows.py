"""The audit log: what people and administrators have changed, and whom the server has refused.

An entry is stored in the transaction of the change itself: either both are there or neither. So
what a request is about to do is noted first, in its thread, and each write takes it along.
"""

from __future__ import annotations

import contextvars
import dataclasses
from typing import Any, Final

from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import Row, select, statement

#: Entries that are kept, and for how long.
KEPT_ROWS: Final = 100_000
KEPT_US: Final = 365 * 24 * 3600 * 1_000_000
#: Old entries go with each one whose number this divides.
_TRIM_EVERY: Final = 256
#: Characters of a text in an entry.
_LONGEST: Final = 300
#: The status of what was done.
DONE: Final = 200

_TRIM: Final = statement("DELETE FROM audit WHERE number <= ? OR at < ?")
_NEWEST: Final = select("audit", "1 = 1 ORDER BY number DESC LIMIT ?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """Who does what, from where, to what."""

    #: The name of the token; empty where none was shown.
    token: str
    role: str
    address: str
    method: str
    path: str
    target: str = ""


_PENDING: contextvars.ContextVar[Entry | None] = contextvars.ContextVar("audited", default=None)


def expect(entry: Entry | None) -> None:
    """Have the next write of this thread store an entry; None: what follows is not audited."""
    _PENDING.set(entry)


def note_created(identity: object) -> None:
    """Have the entry of this thread's request name what the request has created."""
    entry = _PENDING.get()
    if entry is not None:
        texts = (entry.target, f"created {identity}")
        _PENDING.set(dataclasses.replace(entry, target=", ".join(filter(None, texts))))


def store_expected(database: Database, **known: str) -> None:
    """Store the entry of this thread's request, once, in the transaction of what it does.

    Args:
        database: has a transaction under way.
        known: what of the entry is known only now.
    """
    entry = _PENDING.get()
    if entry is None:
        return
    _PENDING.set(None)
    store(database, dataclasses.replace(entry, **known))


def store(database: Database, entry: Entry, *, status: int = DONE, detail: str = "") -> None:
    """Store an entry, with the status by which a request was refused."""
    texts = {name: text[:_LONGEST] for name, text in dataclasses.asdict(entry).items()}
    now = t.now()
    row: Row = {"at": now, **texts, "status": status, "detail": detail[:_LONGEST]}
    number = database.insert("audit", row)
    if number % _TRIM_EVERY == 0:
        database.run(_TRIM, number - KEPT_ROWS, now - KEPT_US)


def newest(database: Database, limit: int) -> list[dict[str, Any]]:
    """Return the newest entries as they are shown, the newest first."""
    with database.connected():
        return [to_answer(row) for row in database.all(_NEWEST, limit)]


def to_answer(row: Row) -> dict[str, Any]:
    """Return an entry as JSON."""
    return {
        "id": str(row["number"]),
        "at": t.date(row["at"]),
        "token": row["token"],
        "role": row["role"],
        "address": row["address"],
        "method": row["method"],
        "path": row["path"],
        "target": row["target"],
        "status": row["status"],
        "detail": row["detail"],
    }
