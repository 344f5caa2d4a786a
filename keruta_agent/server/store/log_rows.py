"""Lines of logs as rows: they come by the thousand, and are read from the end of a million."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keruta_agent.core.model import LogLevel
from keruta_agent.http.bodies import to_json
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.ranges import HIGHEST, Condition, Range
from keruta_agent.server.store.statements import statement

#: Level, source, message, metadata, microseconds: an entry on its way into the table.
Entry = tuple[str, str, str, str | None, int]

_COLUMNS: Final = ("task", "level", "source", "message", "metadata", "logged_at")
_INSERT: Final = f"INSERT INTO log_entries ({', '.join(_COLUMNS)})"
_MARKS: Final = f"({', '.join('?' * len(_COLUMNS))})"

#: Entries of one statement on SQLite. 50 take as long as 500 (1.5 ms of CPU for 500 entries, where
#: a statement for each takes 2.5 and json_each 2.3), and the connections keep a small program.
_AT_ONCE: Final = 50
_ONE: Final = statement(f"{_INSERT} VALUES {_MARKS}")
_SOME: Final = statement(f"{_INSERT} VALUES {', '.join([_MARKS] * _AT_ONCE)}")
_PARTS: Final = "line->>0, line->>1, line->>2, line->>3, (line->>4)::bigint"
_LINES: Final = "json_array_elements(?::json) WITH ORDINALITY AS lines (line, place)"
#: All at once: 1.0 ms, where a statement for each takes 7.7 and unnest 3.7.
_ALL: Final = statement(f"{_INSERT} SELECT ?, {_PARTS} FROM {_LINES} ORDER BY place")  # noqa: S608

#: In these words it is the condition of an index: nearly all entries are INFO, and few clients
#: look for those among others.
_IS_RARE: Final[Condition] = (f"level <> '{LogLevel.INFO}'", ())
_CONDITIONS: Final = {
    "source": "source = ?",
    "start_time": "logged_at >= ?",
    "end_time": "logged_at <= ?",
}


def to_row(entry: Entry) -> dict[str, Any]:
    """Return an entry as its row."""
    return dict(zip(_COLUMNS[1:], entry, strict=True))


def insert(database: Database, task: int, entries: Sequence[Entry]) -> None:
    """Store entries of a task in their order."""
    if database.postgresql:
        database.run(_ALL, task, to_json(entries))
        return
    rows = [(task, *entry) for entry in entries]
    last = len(rows) - len(rows) % _AT_ONCE
    for first in range(0, last, _AT_ONCE):
        database.run(_SOME, *itertools.chain.from_iterable(rows[first : first + _AT_ONCE]))
    for row in rows[last:]:
        database.run(_ONE, *row)


def listing(task: int, query: Mapping[str, Any]) -> Range:
    """Return the entries of a task that a query wants."""
    prefix: dict[str, Any] = {"task": task}
    more: list[Condition] = []
    level = query.get("level")
    if level is LogLevel.INFO:
        more.append(("level = ?", (level.value,)))
    elif level is not None:
        prefix["level"] = level.value
        more.append(_IS_RARE)
    for name, condition in _CONDITIONS.items():
        if name in query:
            more.append((condition, (query[name],)))
    return Range(
        table="log_entries",
        prefix=prefix,
        more=more,
        texts=("message", "metadata"),
        newest_first=query["order"] == "desc",
        above=query.get("after", 0),
        below=query.get("before", HIGHEST),
    )
