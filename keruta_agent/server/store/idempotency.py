"""Idempotency: a repeated write gets its first answer, without acting again.

The key is claimed, and the answer stored, in the transaction of the write itself: either both are
there or neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from keruta_agent.http.problems import Problem
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Store

_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")


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
    answers = store.tables.answers
    mine = (answers.scope == scope) & (answers.key == key)
    with store.writing() as change:
        # On PostgreSQL the second of two equal writes waits here until the first is through.
        claimed = (
            answers.insert(scope=scope, key=key, status=0, body="", created_at=t.now())
            .on_conflict_ignore()
            .as_rowcount()
            .execute()
        )
        if not claimed:
            row = answers.select().where(mine).dicts().get()
            return row["body"], row["status"], True
        text, status = act(change)
        answers.update(status=status, body=text).where(mine).execute()
    return text, status, False
