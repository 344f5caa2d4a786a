"""Which waiting tasks are to be announced in the queue: new ones, and those whose message is lost.

Several workers look; each task is one's to announce.
"""

from __future__ import annotations

from typing import Final

from keruta_agent.server.coding.tasks import SECOND
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import statement

#: Seconds after which a message that nobody has taken counts as lost: while every runner is busy,
#: and while one here is idle, which would have taken it.
LOST_AFTER_S: Final = 60.0
LOST_AFTER_IDLE_S: Final = 5.0
#: Tasks that one look announces.
MOST: Final = 500

_IS_DUE: Final = (
    "state = 'waiting' AND due_at <= ? AND announced_at < ? AND NOT EXISTS"
    " (SELECT 1 FROM coding_pool WHERE paused IS NOT NULL)"
)
_FIRST: Final = f"SELECT number FROM coding_tasks WHERE {_IS_DUE} ORDER BY priority DESC, number"  # noqa: S608
_ANY: Final = statement(f"{_FIRST} LIMIT 1")
_TAKE_FROM: Final = "UPDATE coding_tasks SET announced_at = ? WHERE number IN"
_TAKE: Final = statement(
    f"{_TAKE_FROM} ({_FIRST} LIMIT {MOST}) RETURNING number",
    postgresql=f"{_TAKE_FROM} ({_FIRST} LIMIT {MOST} FOR UPDATE SKIP LOCKED) RETURNING number",
)


def due(database: Database, *, is_idle: bool = False) -> list[int]:
    """Return the numbers of tasks to announce, and note that they are.

    ``is_idle`` says that a runner here waits for messages.
    """
    lost_after_s = LOST_AFTER_IDLE_S if is_idle else LOST_AFTER_S
    with database.connected():
        now = database.now()
        lost = now - round(lost_after_s * SECOND)
        if database.run(_ANY, now, lost).fetchone() is None:  # no write, most of the time
            return []
        with database.transaction():
            return [number for (number,) in database.run(_TAKE, now, now, lost).fetchall()]
