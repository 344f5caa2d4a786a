"""A request as a view sees it: complete, so that nothing in a view waits for the client."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import starlette.requests

from keruta_agent.http.problems import Problem

if TYPE_CHECKING:
    from keruta_agent.http.routes import Route

#: Fields of a form; more than any page sends.
MAX_FORM_FIELDS: Final = 200
_FORM: Final = "application/x-www-form-urlencoded"
#: In the scope: the route that the request was matched with.
ROUTE_KEY: Final = "keruta.route"


class Request(starlette.requests.Request):
    """One request. ``content`` is its whole body; uploads and streams have none."""

    content: bytes = b""

    @property
    def route(self) -> Route | None:
        """The route that answers it; None where there is none."""
        route: Route | None = self.scope.get(ROUTE_KEY)
        return route

    @property
    def path(self) -> str:
        """The path below the prefix, percent-decoded."""
        path: str = self.scope["path"]
        return path.removeprefix(self.prefix)

    @property
    def full_path(self) -> str:
        """The path below the prefix with the query."""
        query = self.scope["query_string"].decode("latin-1")
        return f"{self.path}?{query}" if query else self.path

    @property
    def prefix(self) -> str:
        """The path under which a proxy serves this application, such as ``/keruta``."""
        prefix: str = self.scope.get("root_path", "")
        return prefix

    @property
    def is_secure(self) -> bool:
        """Whether the client came by HTTPS."""
        # Not by ``url``: that cannot be made from every Host header.
        is_https: bool = self.scope.get("scheme") == "https"
        return is_https

    @property
    def peer(self) -> str:
        """The address that it came from, as far as proxies are believed; empty on a Unix socket."""
        peer: str = self.scope["app"].proxies.peer(self.scope)
        return peer

    @property
    def origin(self) -> str:
        """Scheme, name and prefix by which the client reached this application."""
        host = self.headers.get("Host") or self._own_address()
        return f"{'https' if self.is_secure else 'http'}://{host}{self.prefix}"

    @property
    def media_type(self) -> str:
        """The type of the body in lower case, without parameters."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """Whether the body is called JSON."""
        media_type = self.media_type
        is_kind = media_type.startswith("application/") and media_type.endswith("+json")
        return media_type == "application/json" or is_kind

    @property
    def stated_length(self) -> int | None:
        """The length of the body as the client states it; None where it states none."""
        stated = self.headers.get("Content-Length", "")
        return int(stated) if stated.isascii() and stated.isdecimal() else None

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head, by what the head says."""
        return bool(self.stated_length) or "Transfer-Encoding" in self.headers

    @functools.cached_property
    def fields(self) -> Mapping[str, str]:
        """The fields of a form (``application/x-www-form-urlencoded``); of equal ones the first.

        Raises:
            Problem: there are too many (413).
        """
        if self.media_type != _FORM:
            return {}
        text = self.content.decode("utf-8", "replace")
        try:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FORM_FIELDS)
        except ValueError as exc:
            raise Problem(413, "BODY_TOO_LARGE", "the form has too many fields") from exc
        return dict(reversed(pairs))

    def accepted(self, *offered: str) -> str | None:
        """Return which of these media types or languages the client likes best.

        The header is the one for what is offered: ``Accept`` for types, which hold a slash, and
        ``Accept-Language``. None where it wants none of them; the first where it does not say.
        """
        name = "Accept" if "/" in offered[0] else "Accept-Language"
        ranges = _ranges(self.headers.get(name, ""))
        if not ranges:
            return offered[0]
        liked = {offer: _liking(offer, ranges) for offer in offered}
        best = max(offered, key=lambda offer: liked[offer])
        return best if liked[best] > (0.0, 0) else None

    def _own_address(self) -> str:
        host, port = self.scope.get("server") or ("localhost", None)
        return host if port is None else f"{host}:{port}"


def _ranges(header: str) -> list[tuple[str, float]]:
    found = []
    for part in header.lower().split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        if name:
            found.append((name, _quality(parameters)))
    return found


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return 0.0
    return 1.0


def _liking(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """Return how much a client likes an offer, and how closely it has named it."""
    kind = offer.partition("/")[0]
    best = (-1, 0.0)
    for name, quality in ranges:
        closeness = {offer: 2, f"{kind}/*": 1, "*/*": 0, "*": 0}.get(name, -1)
        if closeness < 0 and "/" not in offer and name.startswith(f"{offer}-"):
            closeness = 1
        best = max(best, (closeness, quality))
    return (best[1], best[0] + 1) if best[0] >= 0 else (0.0, 0)
