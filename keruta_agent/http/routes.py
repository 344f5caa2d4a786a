"""The declaration of routes. What a view is called with is decided by the API it belongs to."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from marshmallow import Schema, ValidationError
from starlette.datastructures import QueryParams
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from keruta_agent.http.bodies import SMALL_BODY, read_json
from keruta_agent.http.problems import invalid
from keruta_agent.http.responses import json_value

if TYPE_CHECKING:
    from keruta_agent.http.request import Request
    from keruta_agent.http.uploads import Destination

View = TypeVar("View", bound=Callable[..., Any])

#: Queries of at most so many bytes are remembered, and how many: some hundred kilobytes in all.
_SHORT_QUERY: Final = 100
_REMEMBERED_QUERIES: Final = 500

#: Answers a request in a thread of the application: with the values of its path, after what was
#: read from query, body or form.
Respond = Callable[..., Response]
#: Opens a stream: checks the request on the loop and returns what sends it.
OpenStream = Callable[..., Awaitable[Callable[[Scope, Receive, Send], Awaitable[None]]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer whose status differs from the one declared."""

    body: Any
    status: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Documentation:
    """What the OpenAPI document says of a route, beside what its schemas say."""

    summary: str
    description: str = ""
    #: What is answered with ``status``, and a second kind of answer.
    answer: Any = None
    status: int = 200
    also: tuple[int, Any] | None = None
    #: More of the operation, in the words of OpenAPI.
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
    """One method of one path."""

    method: str
    #: As Starlette writes it, such as ``/tasks/{task_id}``.
    path: str
    #: Name of the view, and of the resource that it belongs to.
    name: str
    group: str
    respond: Respond | None = None
    open_stream: OpenStream | None = None
    query: Schema | None = None
    body: Schema | None = None
    #: Bytes of a body.
    largest: int = SMALL_BODY
    #: Where the file of a form goes: called before it is received, with the values of the path.
    destination: Callable[..., Destination] | None = None
    #: Whether the view may wait for long; such views have threads of their own.
    waits: bool = False
    #: None keeps it out of the OpenAPI document.
    documentation: Documentation | None = None

    def arguments(self, request: Request) -> list[Any]:
        """Return what the query and the body of a request hold.

        Raises:
            Problem: they are invalid (400, 413).
        """
        found = []
        if self.body is not None:
            # No body at all counts as an empty object, so that missing fields are named.
            found.append(_loaded(self.body, read_json(request) if request.content else {}))
        if self.query is not None:
            found.append(_read_query(self.query, request))
        return found


class Resource:
    """A group of routes."""

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self.description = description
        self.routes: list[Route] = []

    def declare(
        self,
        method: str,
        path: str,
        respond: Respond,
        *,
        answer: Any = None,
        query: type[Schema] | None = None,
        body: type[Schema] | None = None,
        status: int = 200,
        also: tuple[int, Any] | None = None,
        doc: Mapping[str, Any] | None = None,
        largest: int = SMALL_BODY,
        destination: Callable[..., Destination] | None = None,
        waits: bool = False,
    ) -> None:
        """Declare a route.

        Args:
            method: of HTTP.
            path: as Starlette writes it.
            respond: answers; it is called with the request, what was read from query or body, and
                the values of the path by their names.
            answer: documents what is answered, with ``status``; ``also`` a second one.
            query: reads the query.
            body: reads the body.
            status: of an answer.
            also: status and schema.
            doc: more for the OpenAPI document.
            largest: bytes of a body.
            destination: says where the file of a form goes; ``respond`` gets what was received.
            waits: whether ``respond`` may wait for long.
        """
        summary, description = _summary(respond)
        self.routes.append(
            Route(
                method=method,
                path=path,
                name=getattr(respond, "__name__", path),
                group=self.name,
                respond=respond,
                query=None if query is None else query(),
                body=None if body is None else body(),
                largest=largest,
                destination=destination,
                waits=waits,
                documentation=Documentation(
                    summary=summary,
                    description=description,
                    answer=answer,
                    status=status,
                    also=also,
                    more=doc or {},
                ),
            )
        )

    def stream(self, path: str, *, doc: Mapping[str, Any]) -> Callable[[OpenStream], OpenStream]:
        """Declare a GET route that sends for as long as the client listens."""

        def decorate(open_stream: OpenStream) -> OpenStream:
            summary, description = _summary(open_stream)
            self.routes.append(
                Route(
                    method="GET",
                    path=path,
                    name=open_stream.__name__,
                    group=self.name,
                    open_stream=open_stream,
                    documentation=Documentation(summary=summary, description=description, more=doc),
                )
            )
            return open_stream

        return decorate


def with_request(view: Callable[..., Any]) -> Callable[..., Any]:
    """Return a view that takes the request first, and hands it on if the view names it."""
    if "request" in inspect.signature(view).parameters:

        @functools.wraps(view)
        def handed(request: Request, *args: Any, **values: Any) -> Any:
            return view(*args, request=request, **values)

        return handed

    @functools.wraps(view)
    def kept(request: Request, *args: Any, **values: Any) -> Any:
        return view(*args, **values)

    return kept


def respond_with(result: Any, status: int) -> Response:
    """Return what a view returned as an answer."""
    if isinstance(result, Response):
        return result
    if isinstance(result, Answer):
        return json_value(result.body, result.status)
    return json_value(result, status)


def first_problem(messages: Any, path: str = "") -> tuple[str, str]:
    """Return the path of the first wrong field and what is wrong with it."""
    if isinstance(messages, dict) and messages:
        name, inner = next(iter(messages.items()))
        step = "body" if name == "_schema" else str(name)
        return first_problem(inner, f"{path}.{step}" if path else step)
    if isinstance(messages, list) and messages:
        return first_problem(messages[0], path)
    return path or "body", str(messages)


def _read_query(schema: Schema, request: Request) -> Any:
    """Return what a query holds; short ones are remembered, as polls repeat theirs."""
    text = request.scope["query_string"]
    if len(text) > _SHORT_QUERY:
        return _loaded(schema, dict(request.query_params))
    return dict(_remembered_query(schema, text))


@functools.lru_cache(_REMEMBERED_QUERIES)
def _remembered_query(schema: Schema, text: bytes) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _loaded(schema, dict(QueryParams(text)))
    return found


def _loaded(schema: Schema, value: Any) -> Any:
    try:
        return schema.load(value)
    except ValidationError as error:
        field, message = first_problem(error.messages)
        raise invalid(field, message) from None


_NO_SUMMARY: Final = ("", "")


def _summary(view: Callable[..., Any]) -> tuple[str, str]:
    """Return the first paragraph of a view's docstring, and the rest."""
    text = inspect.getdoc(view)
    if not text:
        return _NO_SUMMARY
    summary, _, description = text.partition("\n\n")
    return " ".join(summary.split()), description.strip()
