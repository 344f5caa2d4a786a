"""SQL of the hot paths, as constant text.

peewee builds the text of a query anew each time, which takes fifty times as long as SQLite needs
to answer it. What is asked with every poll and every report is written here by name of its table
and columns; queries that differ from call to call go on being peewee's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Final

from keruta_agent.server.store import tables

Row = dict[str, Any]

#: Texts of updates that are kept: each set of columns that a route writes makes one.
_MOST_UPDATES: Final = 256


@dataclasses.dataclass(frozen=True)
class Statement:
    """One statement in the words of both databases."""

    sqlite: str
    postgresql: str


def statement(text: str, *, postgresql: str | None = None) -> Statement:
    """Return a statement whose parameters stand as ``?``.

    Args:
        text: the statement.
        postgresql: the same where PostgreSQL has other words for it.
    """
    return Statement(text, (text if postgresql is None else postgresql).replace("?", "%s"))


@dataclasses.dataclass(frozen=True)
class Select(Statement):
    """A statement that returns rows with these columns."""

    columns: tuple[str, ...]

    def row(self, values: Sequence[Any]) -> Row:
        """Return a row by the names of its columns."""
        return dict(zip(self.columns, values, strict=True))


def select(
    table: str,
    condition: str,
    *,
    postgresql: str | None = None,
    locks: bool = False,
    skips_locked: bool = False,
) -> Select:
    """Return a query of whole rows.

    Args:
        table: where they are.
        condition: what follows WHERE.
        postgresql: the same where PostgreSQL has other words for it.
        locks: whether the rows stay as they are until the transaction ends. SQLite excludes every
            other writer from a transaction anyway.
        skips_locked: whether rows that another transaction has locked are passed over.
    """
    columns = tables.COLUMNS[table]
    rows = f"SELECT {', '.join(columns)} FROM {table} WHERE "  # noqa: S608
    lock = " FOR UPDATE" if locks or skips_locked else ""
    lock += " SKIP LOCKED" if skips_locked else ""
    other = f"{condition if postgresql is None else postgresql}{lock}"
    made = statement(rows + condition, postgresql=rows + other)
    return Select(made.sqlite, made.postgresql, columns)


@functools.cache
def insert(table: str, columns: tuple[str, ...]) -> Statement:
    """Return the insertion of one row; its number is the statement's result on PostgreSQL."""
    marks = ", ".join("?" * len(columns))
    text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
    return statement(text, postgresql=f"{text} RETURNING number")


@functools.lru_cache(_MOST_UPDATES)
def update(table: str, columns: tuple[str, ...], key: str) -> Statement:
    """Return the change of these columns of the row that a key names."""
    values = ", ".join(f"{column} = ?" for column in columns)
    return statement(f"UPDATE {table} SET {values} WHERE {key} = ?")  # noqa: S608
