"""Pages of lists: which one a client asks for, and where the next one is.

A list is answered in bounded memory, whatever the size of a row: rows with scripts or lines of a
log may take gigabytes, and are read and sent a part at a time. To end such an answer early would be
a gap to clients that count pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from marshmallow import fields, validate
from starlette.responses import Response

from keruta_agent.http.bodies import to_json
from keruta_agent.http.fields import RequestSchema
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request
from keruta_agent.http.responses import PartsResponse, json_value
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import ranges
from keruta_agent.server.store.ranges import Cursor, Listing, Place
from keruta_agent.server.store.statements import Row
from keruta_agent.server.store.store import Store

#: Rows of a page, and of a list that is asked for without pages: more tasks than a person looks
#: through, and half a megabyte of usual ones, which a poll may carry every few seconds.
MOST_ROWS: Final = 1000
#: Rows of a page of which the size is not said.
DEFAULT_PAGE: Final = 100
#: Characters of the rows that are in memory at once, but for a single row that is larger.
PART_CHARACTERS: Final = 1024 * 1024

_CURSOR: Final = r"-?[0-9]{1,18}(\.[0-9]{1,18})?"
_TOTAL: Final = "X-Total-Count"
#: Of lists of which something was removed by age or number, so that they are no silent gap.
PRUNED: Final = "X-Pruned-At"

#: For the OpenAPI document.
HEADERS: Final = {
    "Link": {
        "description": 'The next page, as rel="next" (RFC 8288), where there is more.',
        "schema": {"type": "string"},
    },
    _TOTAL: {
        "description": "Rows of all pages, where `total` asks for it.",
        "schema": {"type": "integer"},
    },
}
PRUNED_HEADER: Final = {
    PRUNED: {
        "description": "When entries of this list were removed, by age or number.",
        "schema": {"type": "string", "format": "date-time"},
    }
}
DOCUMENTATION: Final = {"responses": {"200": {"headers": HEADERS}}}


class PageQuery(RequestSchema):
    """Which page of a list to return; without any of it as much as one answer holds."""

    page = fields.Integer(
        validate=validate.Range(min=0, max=2**31), metadata={"description": "From 0."}
    )
    size = fields.Integer(
        validate=validate.Range(min=1, max=MOST_ROWS),
        metadata={"description": f"Rows of a page; {DEFAULT_PAGE} where it is not said."},
    )
    after = fields.String(
        validate=validate.Regexp(rf"^{_CURSOR}$(?!\n)", error="Not from a link to a next page."),
        metadata={"description": "Where the page before ended, as its link says."},
    )
    total = fields.Boolean(
        metadata={"description": "Whether to count the rows of all pages, which takes time."}
    )


def asks_for_pages(query: Mapping[str, Any]) -> bool:
    """Return whether a client knows of pages."""
    return not query.keys().isdisjoint(("page", "size", "after"))


def respond(
    request: Request,
    listing: Listing,
    query: Mapping[str, Any],
    to_answer: Callable[[Row], Any],
    *,
    keep: Callable[[Row], bool] | None = None,
    sort: Callable[[Place], Any] | None = None,
) -> Response:
    """Return a page of a list, with a link to the next one.

    Args:
        request: asks for it.
        listing: all rows in their order.
        query: what ``PageQuery`` has read.
        to_answer: turns a row into JSON.
        keep: whether a row still belongs to the list, now that it is read.
        sort: orders the rows within the page.
    """
    store: Store = store_of(request)
    size = query.get("size", DEFAULT_PAGE if asks_for_pages(query) else MOST_ROWS)
    begun = listing
    if "after" in query:
        begun = listing.behind(_cursor(query["after"], listing.cursor_length))
    places = begun.places(store.database, size + 1, query.get("page", 0) * size)
    links = {}
    if len(places) > size:
        after = ".".join(map(str, places[size - 1].cursor))
        links = next_page(request, {"size": str(size), "after": after})
    if query.get("total"):
        links[_TOTAL] = str(listing.count(store.database))
    places = places[:size]
    if sort is not None:
        places.sort(key=sort)
    response = whole(store, listing.table, places, to_answer, keep)
    response.headers.update(links)
    return response


def next_page(request: Request, where: Mapping[str, str]) -> dict[str, str]:
    """Return the header that says where the next page is, by what differs in the query.

    The link is relative: no proxy makes it wrong.
    """
    left_out = {"page", *where}
    kept = [
        (name, text) for name, text in request.query_params.multi_items() if name not in left_out
    ]
    return {"Link": f'<?{urlencode([*kept, *where.items()])}>; rel="next"'}


def whole(
    store: Store,
    table: str,
    places: Sequence[Place],
    to_answer: Callable[[Row], Any],
    keep: Callable[[Row], bool] | None = None,
) -> Response:
    """Return the rows in these places as a JSON list."""

    def answers(part: Sequence[Place]) -> list[Any]:
        found = ranges.rows(store.database, table, [place.number for place in part])
        return [to_answer(row) for row in found if keep is None or keep(row)]

    def later_answers(part: Sequence[Place]) -> list[Any]:
        # Each part has a connection for itself: a slow reader keeps none.
        with store.database.connected():
            return answers(part)

    parts = list(_parts(places))
    if not parts:
        return json_value([])
    if len(parts) == 1:
        return json_value(answers(parts[0]))
    return PartsResponse(_send(parts, later_answers))


def _parts(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Yield the parts of a list."""
    first = characters = 0
    for index, place in enumerate(places):
        if index > first and characters + place.size > PART_CHARACTERS:
            yield places[first:index]
            first, characters = index, 0
        characters += place.size
    if first < len(places):
        yield places[first:]


def _send(
    parts: Sequence[Sequence[Place]], answers: Callable[[Sequence[Place]], list[Any]]
) -> Iterator[str]:
    before = "["
    for part in parts:
        # Rows may have gone meanwhile.
        if text := to_json(answers(part))[1:-1]:
            yield before + text
            before = ","
    yield "]\n" if before == "," else "[]\n"


def _cursor(text: str, length: int) -> Cursor:
    numbers = tuple(map(int, text.split(".")))
    if len(numbers) != length:
        raise invalid("after", "Not from a link to a next page of this list.")
    return numbers
