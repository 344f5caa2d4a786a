"""The return of free pages of an SQLite file to the disk, some at a time.

Only files that were made for it (``auto_vacuum = INCREMENTAL``, set before the first page) can; one
that was not has to be written anew for that, once (``VACUUM``).
"""

from __future__ import annotations

import sqlite3
from typing import Final

#: Asks for it, of a file that has no pages yet or that a VACUUM writes anew.
ASK: Final = "PRAGMA auto_vacuum = INCREMENTAL"
#: Free pages of 4 KiB that stay: what comes next takes them again.
KEPT_PAGES: Final = 256
#: Pages that are given back in one transaction: some ten milliseconds.
PAGES_AT_ONCE: Final = 1000

_INCREMENTAL: Final = 2


def is_made_for_it(connection: sqlite3.Connection) -> bool:
    """Return whether a file can give back pages."""
    return value(connection, "auto_vacuum") == _INCREMENTAL


def give_back(connection: sqlite3.Connection, pages_at_once: int = PAGES_AT_ONCE) -> bool:
    """Give some free pages back; return whether there are more.

    Raises:
        sqlite3.Error: it cannot be done now; the file is as before.
    """
    free = value(connection, "freelist_count") - KEPT_PAGES
    if free <= 0:
        return False
    # Not ``execute``, which stops at the first page: each is a row, without columns.
    connection.executescript(f"PRAGMA incremental_vacuum({min(free, pages_at_once)})")
    if free > pages_at_once:
        return True
    empty_log(connection)
    return False


def empty_log(connection: sqlite3.Connection) -> None:
    """Copy the log into the file, which takes its new size by that; readers may delay it."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def value(connection: sqlite3.Connection, pragma: str) -> int:
    """Return what SQLite says of a file."""
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
