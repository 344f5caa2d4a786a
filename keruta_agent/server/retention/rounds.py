"""One round of pruning, as the server's thread and ``keruta server prune`` make it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from keruta_agent.core import sqlite_pages
from keruta_agent.server.retention.policy import Policy
from keruta_agent.server.retention.pruned import Pruned
from keruta_agent.server.retention.pruner import Pruner
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.store import Store

logger = logging.getLogger(__name__)


def prune(store: Store, policy: Policy) -> Iterator[Pruned]:
    """Prune what is due and give its room back to the disk; yield after each short transaction."""
    total = Pruned()
    for pruned in Pruner(store, policy).steps():
        total += pruned
        yield pruned
    if not total.is_nothing:
        logger.info(
            "pruned %d sessions, %d tasks, %d lines of logs, %d artifacts, %d coding tasks",
            total.sessions,
            total.tasks,
            total.log_lines,
            total.artifacts,
            total.coding_tasks,
            extra={"action": "server_pruned"},
        )
    for _ in shrink(store.database):
        yield Pruned()


def shrink(database: Database) -> Iterator[None]:
    """Give free pages of an SQLite file back, some a step; PostgreSQL does that by itself."""
    more = can_shrink(database)
    while more:
        with database.connected():
            more = sqlite_pages.give_back(database.peewee.connection())
        yield


def can_shrink(database: Database) -> bool:
    """Return whether a database is an SQLite file that gives free pages back."""
    if database.postgresql:
        return False
    with database.connected():
        return sqlite_pages.is_made_for_it(database.peewee.connection())


def write_anew(database: Database) -> None:
    """Write an SQLite file anew, as small as it can be; from then on it gives free pages back.

    All writers wait meanwhile, and the disk has to hold it a second time.
    """
    with database.connected():
        connection = database.peewee.connection()
        connection.execute(sqlite_pages.ASK)
        connection.execute("VACUUM")
        sqlite_pages.empty_log(connection)
