"""The return of free pages of agent.db to the disk, some at a time.

Databases of this version are made for that. One of an earlier version is written anew once, as
soon as much of it is free: then little is left to write.
"""

from __future__ import annotations

from typing import Final

from keruta_agent.agent.store.sqlite.database import Database

#: Free pages of 4 KiB that stay: what comes next takes them again.
KEPT_PAGES: Final = 256
#: Pages that are given back in one transaction: some ten milliseconds.
PAGES_AT_ONCE: Final = 1000
#: Most pages that are written anew while others wait: below a second.
_MOST_PAGES_ANEW: Final = 32_768

_INCREMENTAL: Final = 2


def shrink(database: Database) -> bool:
    """Give some free pages back; return whether there are more.

    Raises:
        sqlite3.Error: it cannot be done now; the database is as before.
    """
    free = _value(database, "freelist_count") - KEPT_PAGES
    if free <= 0:
        return False
    if _value(database, "auto_vacuum") == _INCREMENTAL:
        # Not ``execute``, which stops at the first page: each is a row, without columns.
        pages = min(free, PAGES_AT_ONCE)
        database.connection().executescript(f"PRAGMA incremental_vacuum({pages})")
        more = free > PAGES_AT_ONCE
    else:
        used = _value(database, "page_count") - free
        if used > min(free, _MOST_PAGES_ANEW):
            return False
        database.connection().execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.connection().execute("VACUUM")
        more = False
    if not more:
        # The file itself shrinks when its log is copied into it.
        database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return more


def _value(database: Database, pragma: str) -> int:
    return int(database.connection().execute(f"PRAGMA {pragma}").fetchone()[0])
