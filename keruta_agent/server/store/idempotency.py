"""Idempotency: a repeated write gets its first answer, without acting again.

The key is claimed, and the answer stored, in the transaction of the write itself: either both are
there or neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from keruta_agent.http.problems import Problem
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.store import Store

_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")

_CLAIM: Final = statement(
    "INSERT INTO answers (scope, key, status, body, created_at) VALUES (?, ?, 0, '', ?)"
    " ON CONFLICT DO NOTHING"
)
_READ: Final = statement("SELECT body, status FROM answers WHERE scope = ? AND key = ?")
_ANSWER: Final = statement("UPDATE answers SET status = ?, body = ? WHERE scope = ? AND key = ?")


def is_answered(store: Store, scope: str, key: str) -> bool:
    """Return whether a write under this key has been answered."""
    with store.database.connected():
        return store.database.run(_READ, scope, key).fetchone() is not None


def once(
    store: Store, scope: str, key: str, act: Callable[[Any], tuple[str, int]]
) -> tuple[str, int, bool]:
    """Act once for a key within a scope (the route and what it names).

    Returns the answer's JSON text and status, and whether it is a repeated one. A refused write
    leaves no trace, so that it may be tried again.

    Raises:
        Problem: the key itself is invalid.
    """
    if not _KEY.match(key):
        raise Problem(
            400, "INVALID_INPUT", "Idempotency-Key: must be 1 to 255 visible ASCII characters"
        )
    database = store.database
    with store.writing() as change:
        # On PostgreSQL the second of two equal writes waits here until the first is through.
        if not database.run(_CLAIM, scope, key, database.now()).rowcount:
            text, status = database.run(_READ, scope, key).fetchone()
            return text, status, True
        text, status = act(change)
        database.run(_ANSWER, status, text, scope, key)
    return text, status, False
