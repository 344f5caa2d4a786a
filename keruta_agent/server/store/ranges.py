"""Lists as ranges of indexes: a page costs what it holds, however long the list is.

A page goes on behind the last row of the one before, which the index finds at once. Nothing is
counted, sorted or skipped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, Self

from keruta_agent.http.bodies import to_json
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import Row, select, statement

#: No number is higher.
HIGHEST: Final = 2**63 - 1

#: What the place of a row in its list is known by; the next page begins behind it.
Cursor = tuple[int, ...]
#: A piece of SQL with its values.
Condition = tuple[str, tuple[Any, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A row in a list: where it stands, and how many characters its long columns hold."""

    cursor: Cursor
    size: int

    @property
    def number(self) -> int:
        """The number of the row."""
        return self.cursor[-1]


class Listing(Protocol):
    """Rows in an order."""

    @property
    def table(self) -> str:
        """Where they are."""

    @property
    def cursor_length(self) -> int:
        """How many numbers a cursor has."""

    def behind(self, cursor: Cursor) -> Listing:
        """Return what follows a row."""

    def places(self, database: Database, limit: int, offset: int) -> list[Place]:
        """Return where the first rows are."""

    def count(self, database: Database) -> int:
        """Count the rows; this takes time for each of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """Rows in the order of their numbers, that is, of their arrival.

    An index begins with the columns of ``prefix`` and goes on with the number. Rows that ``more``
    refuses are read all the same.
    """

    table: str
    prefix: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    more: Sequence[Condition] = ()
    #: Columns that may be long.
    texts: Sequence[str] = ()
    newest_first: bool = True
    #: Numbers that the rows lie between.
    above: int = 0
    below: int = HIGHEST
    cursor_length: int = 1

    def behind(self, cursor: Cursor) -> Self:
        """Return what follows a row."""
        if self.newest_first:
            return dataclasses.replace(self, below=cursor[0])
        return dataclasses.replace(self, above=cursor[0])

    def places(self, database: Database, limit: int, offset: int) -> list[Place]:
        """Return where the first rows are."""
        where, values = self._condition(database)
        direction = " DESC" if self.newest_first else ""
        order = ", ".join(column + direction for column in self._key(database))
        text = f"{where} ORDER BY {order}"
        return _places(database, self, ("number",), text, values, limit, offset)

    def count(self, database: Database) -> int:
        """Count the rows."""
        return _count(database, self.table, *self._condition(database))

    def _key(self, database: Database) -> tuple[str, ...]:
        """Return the columns to order by.

        Of columns that are equal PostgreSQL knows that they order nothing. It would order by the
        number alone: through the primary key, past the rows of everybody else. So the last column
        of the prefix is a range to it, and part of the order.
        """
        last = tuple(self.prefix)[-1:] if database.postgresql else ()
        return (*last, "number")

    def _condition(self, database: Database) -> Condition:
        key = self._key(database)
        equal = {name: value for name, value in self.prefix.items() if name not in key}
        last = tuple(value for name, value in self.prefix.items() if name in key)
        names, marks = ", ".join(key), ", ".join("?" * len(key))
        return _all(
            *((f"{name} = ?", (value,)) for name, value in equal.items()),
            (f"({names}) > ({marks})", (*last, self.above)),
            (f"({names}) < ({marks})", (*last, self.below)),
            *self.more,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranked:
    """Rows by a rank, the highest first, and by their numbers where the rank is the same."""

    table: str
    rank: str
    more: Sequence[Condition] = ()
    texts: Sequence[str] = ()
    newest_first: bool = True
    #: Rank and number of the row before the first.
    after: Cursor | None = None
    cursor_length: int = 2

    def behind(self, cursor: Cursor) -> Self:
        """Return what follows a row."""
        return dataclasses.replace(self, after=cursor)

    def places(self, database: Database, limit: int, offset: int) -> list[Place]:
        """Return where the first rows are."""
        order = f"{self.rank} DESC, number{' DESC' if self.newest_first else ''}"
        found: list[Place] = []
        for part in self._parts():
            where, values = _all(*part, *self.more)
            key = (self.rank, "number")
            left = limit - len(found)
            text = f"{where} ORDER BY {order}"
            found += _places(database, self, key, text, values, left, offset)
            if len(found) == limit:
                break
        return found

    def count(self, database: Database) -> int:
        """Count the rows."""
        return sum(_count(database, self.table, *_all(*part, *self.more)) for part in self._parts())

    def _parts(self) -> Iterator[Sequence[Condition]]:
        """Yield the rows as ranges of an index: of the same rank, then of lower ones."""
        if self.after is None:
            yield ()
            return
        rank, number = self.after
        comparison = "<" if self.newest_first else ">"
        yield [(f"{self.rank} = ? AND number {comparison} ?", (rank, number))]
        yield [(f"{self.rank} < ?", (rank,))]


def rows(database: Database, table: str, numbers: Sequence[int]) -> list[Row]:
    """Return the rows with these numbers, in their order, but for those that are gone."""
    wanted: Any = list(numbers) if database.postgresql else to_json(numbers)
    found = {row["number"]: row for row in database.all(_BY_NUMBER[table], wanted)}
    return [found[number] for number in numbers if number in found]


_BY_NUMBER: Final = {
    table: select(table, "number IN (SELECT value FROM json_each(?))", postgresql="number = ANY(?)")
    for table, columns in t.COLUMNS.items()
    if "number" in columns
}


def _all(*conditions: Condition) -> Condition:
    if not conditions:
        return "TRUE", ()
    return (
        " AND ".join(text for text, _ in conditions),
        tuple(value for _, values in conditions for value in values),
    )


def _places(
    database: Database,
    listing: Range | Ranked,
    key: tuple[str, ...],
    where: str,
    values: tuple[Any, ...],
    limit: int,
    offset: int,
) -> list[Place]:
    # The number of bytes stands before a long text; only SQLite has to read and count.
    length = "OCTET_LENGTH" if database.postgresql else "LENGTH"
    size = " + ".join(f"COALESCE({length}({text}), 0)" for text in listing.texts) or "0"
    text = f"SELECT {size}, {', '.join(key)} FROM {listing.table} WHERE {where} LIMIT ? OFFSET ?"  # noqa: S608
    found = database.run(statement(text), *values, limit, offset)
    return [Place(cursor=tuple(cursor), size=size) for size, *cursor in found]


def _count(database: Database, table: str, where: str, values: tuple[Any, ...]) -> int:
    text = f"SELECT COUNT(*) FROM {table} WHERE {where}"  # noqa: S608
    counted: int = database.run(statement(text), *values).fetchone()[0]
    return counted
