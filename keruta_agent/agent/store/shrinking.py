"""The shrinking of agent.db.

Databases of this version give their free pages back some at a time. One of an earlier version is
written anew for that once, as soon as much of it is free: then little is left to write.
"""

from __future__ import annotations

from typing import Final

from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core import sqlite_pages

#: Most pages that are written anew while others wait: below a second.
_MOST_PAGES_ANEW: Final = 32_768


def shrink(database: Database) -> bool:
    """Give some free pages back; return whether there are more.

    Raises:
        sqlite3.Error: it cannot be done now; the database is as before.
    """
    connection = database.connection()
    if sqlite_pages.is_made_for_it(connection):
        return sqlite_pages.give_back(connection)
    free = sqlite_pages.value(connection, "freelist_count")
    used = sqlite_pages.value(connection, "page_count") - free
    if free > sqlite_pages.KEPT_PAGES and used < min(free, _MOST_PAGES_ANEW):
        connection.execute(sqlite_pages.ASK)
        connection.execute("VACUUM")
        sqlite_pages.empty_log(connection)
    return False
