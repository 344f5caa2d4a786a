"""Long lists in bounded memory, whatever the size of a row: read and sent a part at a time.

A page of log lines, or the tasks of a session with their scripts, may take gigabytes. To end such
an answer early would be a gap to clients that count pages.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import flask
import peewee

from keruta_agent.http.bodies import to_json
from keruta_agent.server.store.store import Store

#: Characters of the rows that are in memory at once, but for a single row that is larger.
PART_CHARACTERS: Final = 1024 * 1024
#: What a row takes beside its texts: a list of short rows is long as well.
ROW_CHARACTERS: Final = 512

#: Lowest and highest number of the rows of a part.
_Part = tuple[int, int]


def respond(
    store: Store,
    query: Any,
    *,
    number: Any,
    texts: Iterable[Any],
    to_answer: Callable[[dict[str, Any]], Any],
) -> Any:
    """Return the rows of a query as a JSON list.

    Args:
        store: where the rows are.
        query: selects whole rows, in the order of ``number``.
        number: the column that numbers the rows.
        texts: the columns that may be long.
        to_answer: turns a row into JSON.
    """
    lengths = (peewee.fn.COALESCE(peewee.fn.LENGTH(text), 0) for text in texts)
    size = functools.reduce(operator.add, lengths) + ROW_CHARACTERS
    sizes = query.columns(number, size).tuples()
    parts = list(_parts(sizes))
    if len(parts) <= 1:
        return [to_answer(row) for row in query.dicts()]

    def rows_of(part: _Part) -> list[Any]:
        # Each part has a connection for itself: a slow reader keeps none.
        with store.database.connected():
            rows = query.limit(None).offset(None).where(number.between(*part)).dicts()
            return [to_answer(row) for row in rows]

    return flask.Response(_send(parts, rows_of), content_type="application/json")


def _parts(sizes: Iterable[tuple[int, int]]) -> Iterator[_Part]:
    """Yield the parts of a list whose rows have these numbers and sizes."""
    numbers: list[int] = []
    characters = 0
    for number, size in sizes:
        if numbers and characters + size > PART_CHARACTERS:
            yield min(numbers), max(numbers)
            numbers, characters = [], 0
        numbers.append(number)
        characters += size
    if numbers:
        yield min(numbers), max(numbers)


def _send(parts: list[_Part], rows_of: Callable[[_Part], list[Any]]) -> Iterator[str]:
    before = "["
    for part in parts:
        # Rows may have gone meanwhile.
        if text := to_json(rows_of(part))[1:-1]:
            yield before + text
            before = ","
    yield "]\n" if before == "," else "[]\n"
