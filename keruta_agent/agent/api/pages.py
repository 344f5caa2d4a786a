"""Lists that a server answers a page at a time, followed to their ends.

A server that knows no pages answers the whole list, and names no next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import requests

from keruta_agent.http.client.http import HttpClient

#: A list longer than this has no end, or is read on with the next poll.
_MOST_PAGES: Final = 1000


def followed(
    http: HttpClient, action: str, path: str, first: requests.Response
) -> Iterator[requests.Response]:
    """Yield the pages of a list, of which the first one is there."""
    page, asked = first, None
    for _ in range(_MOST_PAGES):
        yield page
        following = _next(page)
        if following is None or following == asked:
            return
        asked = following
        page = http.get(action, path, params=asked)


def _next(page: requests.Response) -> dict[str, str] | None:
    """Return the query of the page that follows, as the header ``Link`` has it (RFC 8288).

    Of the link only the query counts: the token goes nowhere else.
    """
    query = urlsplit(page.links.get("next", {}).get("url", "")).query
    return dict(parse_qsl(query)) or None
