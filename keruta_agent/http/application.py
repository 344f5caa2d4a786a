"""The application that serves one API: routes, admission, bodies, answers to failures.

Views are plain functions that run in a few threads of the application; the event loop only
receives and sends. So a slow client costs a socket, and never a thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote_to_bytes

import starlette.routing
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keruta_agent.http.bodies import too_large
from keruta_agent.http.events import STREAM_HEADERS
from keruta_agent.http.failures import Failures
from keruta_agent.http.openapi import OPENAPI_PATH, Document
from keruta_agent.http.problems import Problem
from keruta_agent.http.proxies import Proxies
from keruta_agent.http.request import ROUTE_KEY, Request
from keruta_agent.http.responses import json_value
from keruta_agent.http.routes import Resource, Route

if TYPE_CHECKING:
    from keruta_agent.http.pages.page_setup import PageSetup

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Threads for views: database work, which seldom waits.
THREADS: Final = 4
#: Threads for views that wait for something, such as a free slot.
WAITING_THREADS: Final = 64
#: Bodies above this many bytes are received by a few clients at a time: they are held in memory.
_LARGE: Final = 256 * 1024
_MOST_LARGE: Final = 8
_SLASH: Final = re.compile(b"%2f", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What an API decides for itself."""

    #: Admits a request on the loop, or raises a ``Problem``.
    admit: Callable[[Request], None]
    failures: Failures
    #: Returns what a thread has to read before the request can be admitted; None for nothing.
    look_up: Callable[[Request], Callable[[], None] | None] | None = None
    #: Refuses, in a thread, what a client may not do to what its request names: called with what
    #: body and query hold.
    authorize: Callable[[Request, Sequence[Any]], None] | None = None
    #: Told in a thread whom the API has refused (401, 403).
    refused: Callable[[Request, Problem], None] | None = None
    #: Returns a check whether a client may go on to listen; where there is none, logins end.
    may_listen: Callable[[Request], Callable[[], bool]] | None = None
    #: Called first in each thread that views run in.
    begin_thread: Callable[[], None] | None = None
    #: Of every answer that does not set them itself.
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Application:
    """One API as an ASGI callable."""

    def __init__(self, context: Any, document: Document, hooks: Hooks) -> None:
        """Take what the views work with, an empty OpenAPI document, and the API's decisions."""
        self.context = context
        self.hooks = hooks
        self.document = document
        self.routes: list[Route] = []
        #: What its pages share; None where it has no pages.
        self.pages: PageSetup | None = None
        #: In front of it.
        self.proxies = Proxies()
        #: Told when the server stops, so that streams end.
        self.on_stop: list[Callable[[], None]] = []
        self._routers: _Routers | None = None
        #: The first steps of the paths of all routes.
        self._steps = {OPENAPI_PATH.split("/")[1]}
        self._threads = ThreadPoolExecutor(
            THREADS, thread_name_prefix="http-view", initializer=hooks.begin_thread
        )
        self._waiting = ThreadPoolExecutor(WAITING_THREADS, thread_name_prefix="http-waiting")
        self._large: asyncio.Semaphore | None = None

    def add(self, *resources: Resource) -> None:
        """Serve the routes of resources."""
        for resource in resources:
            self.routes.extend(resource.routes)
            self._steps.update(route.path.split("/")[1] for route in resource.routes)
            self.document.add(resource)
        self._routers = None

    def may_listen(self, request: Request) -> Callable[[], bool] | None:
        """Return a check whether a stream may go on; None where nothing ends its login."""
        if self.hooks.may_listen is not None:
            return self.hooks.may_listen(request)
        if self.pages is None or "Authorization" in request.headers:
            return None
        visitor = self.pages.visitor(request)
        return visitor.is_logged_in if visitor.known else None

    def begin_stop(self) -> None:
        """End the streams; called on the loop when the server stops."""
        for tell in self.on_stop:
            tell()

    def close(self) -> None:
        """Wait for the views that run, and end their threads."""
        self._threads.shutdown(cancel_futures=True)
        self._waiting.shutdown(cancel_futures=True)

    async def run(self, function: Callable[..., T], *args: Any, waits: bool = False) -> T:
        """Call a function in a thread of the application."""
        threads = self._waiting if waits else self._threads
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, function, *args)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        scope["app"] = self
        scope["path"] = _decoded(scope)
        self.proxies.apply(scope, self._steps)
        sender = _Sender(send, self.hooks.headers)
        try:
            await self._router(scope)(scope, receive, sender)
        except ClientDisconnect:
            return
        except Exception as exc:
            if sender.has_begun:
                raise
            response = await self._answer_failure(Request(scope, receive), exc)
            await response(scope, receive, sender)

    def _router(self, scope: Scope) -> starlette.routing.Router:
        """Return the routes that a path may belong to."""
        if self._routers is None:
            by_path: dict[str, list[Route]] = {}
            for route in self.routes:
                by_path.setdefault(route.path, []).append(route)
            routes = [_path(path, by_path[path]) for path in sorted(by_path, key=_by_parameters)]
            routes.append(starlette.routing.Route(OPENAPI_PATH, _Document(self), methods=["GET"]))
            self._routers = _Routers(routes, default=self._refuse_unknown)
        return self._routers.of(scope["path"].removeprefix(scope.get("root_path", "")))

    async def admit(self, request: Request) -> None:
        """Admit a request.

        Raises:
            Problem: it is refused.
        """
        look_up = None if self.hooks.look_up is None else self.hooks.look_up(request)
        if look_up is not None:
            await self.run(look_up)
        self.hooks.admit(request)
        if any("\0" in str(value) for value in request.path_params.values()):
            raise Problem(404, "NOT_FOUND", "nothing has an id with NUL in it")

    async def serve(self, route: Route, request: Request, send: Send) -> None:
        """Answer a request by its route."""
        request.scope[ROUTE_KEY] = route
        await self.admit(request)
        if route.open_stream is not None:
            await self.run(self._authorize, request)
            stream = await route.open_stream(request, **request.path_params)
            if request.method == "HEAD" and not isinstance(stream, Response):
                stream = Response(headers=STREAM_HEADERS)
            await stream(request.scope, request.receive, send)
            return
        if route.destination is not None:
            response = await self._received(route, request)
        else:
            request.content = await self._content(request, route.largest)
            response = await self.run(self._respond, route, request, waits=route.waits)
        await response(request.scope, request.receive, send)

    def _respond(self, route: Route, request: Request, *received: Any) -> Response:
        if route.respond is None:
            raise TypeError(f"the route {route.path} has no view")
        arguments = route.arguments(request)
        # A form was authorized before it was received, in another thread maybe.
        self._authorize(request, arguments)
        return route.respond(request, *received, *arguments, **request.path_params)

    def _authorize(self, request: Request, arguments: Sequence[Any] = ()) -> None:
        if self.hooks.authorize is not None:
            self.hooks.authorize(request, arguments)

    async def _received(self, route: Route, request: Request) -> Response:
        """Answer a request whose form carries a file."""
        if route.destination is None:
            raise TypeError(f"the route {route.path} receives no file")
        from keruta_agent.http import uploads  # not in a daemon, which takes no files

        await self.run(self._authorize, request)
        place = functools.partial(route.destination, request, **request.path_params)
        async with uploads.received(request, await self.run(place), self.run) as form:
            return await self.run(self._respond, route, request, form)

    async def _content(self, request: Request, largest: int) -> bytes:
        """Return the body of a request.

        Raises:
            Problem: it is too large (413).
        """
        if not request.has_body:
            return b""
        stated = request.stated_length
        if stated is not None and stated > largest:
            raise too_large(largest)
        if largest <= _LARGE or (stated is not None and stated <= _LARGE):
            return await _read(request, largest)
        if self._large is None:
            self._large = asyncio.Semaphore(_MOST_LARGE)
        async with self._large:
            return await _read(request, largest)

    async def _refuse_unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        await self.admit(request)
        raise Problem(404, "ROUTE_NOT_FOUND", f"there is no {request.method} {request.path}")

    async def _answer_failure(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            try:
                await self.admit(request)
            except Problem as refusal:
                error = refusal
            else:
                if error.status_code == 405 and request.method == "OPTIONS":
                    return Response(headers={"Allow": (error.headers or {}).get("Allow", "")})
        problem = self.hooks.failures.problem_of(error)
        if self.hooks.refused is not None and problem.status in (401, 403):
            await self.run(self._note_refusal, request, problem)
        if self.pages is not None and self.pages.wants_page(request):
            # In a thread: a page takes a millisecond, and anybody can ask for what is not there.
            return await self.run(self.pages.problem_page, request, problem)
        response = json_value(problem.body(), problem.status)
        response.headers.update(problem.headers)
        return response

    def _note_refusal(self, request: Request, problem: Problem) -> None:
        if self.hooks.refused is None:
            return
        try:
            self.hooks.refused(request, problem)
        except Exception as exc:
            # Whoever was refused stays refused, and is told so.
            logger.warning(
                "cannot note a refusal: %s",
                self.hooks.failures.problem_of(exc).message,
                extra={"action": "server_refusal_unnoted"},
            )


class _Sender:
    """Passes an answer on, with the headers that every answer has."""

    def __init__(self, send: Send, headers: Mapping[str, str]) -> None:
        self._send = send
        self._headers = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            if self._headers:
                set_already = {name for name, _ in message["headers"]}
                more = [header for header in self._headers if header[0] not in set_already]
                message["headers"] = [*message["headers"], *more]
        await self._send(message)


class _Routers:
    """Routes by the form of their paths: a router looks through all of its routes in turn."""

    def __init__(self, routes: Sequence[starlette.routing.Route], default: ASGIApp) -> None:
        forms = {_form(route.path) for route in routes}
        self._routers = {
            (count, last): starlette.routing.Router(
                [route for route in routes if _form(route.path) in ((count, last), (count, None))],
                # A redirect would name the host that the client has named.
                redirect_slashes=False,
                default=default,
            )
            for count, last in forms | {(count, None) for count, _ in forms}
        }
        self._none = starlette.routing.Router(redirect_slashes=False, default=default)

    def of(self, path: str) -> starlette.routing.Router:
        """Return the router of a path."""
        count, last = _form(path)
        found = self._routers.get((count, last)) or self._routers.get((count, None))
        return found or self._none


class _Path:
    """The routes of one path, by their methods."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.method: route for route in routes}
        if "GET" in self._routes:
            self._routes.setdefault("HEAD", self._routes["GET"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await scope["app"].serve(self._routes[scope["method"]], Request(scope, receive), send)


class _Document:
    """The route of the OpenAPI document."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application.admit(Request(scope, receive))
        found = await self._application.run(self._application.document.to_json)
        await json_value(found)(scope, receive, send)


def _form(path: str) -> tuple[int, str | None]:
    """Return how many steps a path has, and the last one if it is spelt out."""
    last = path.rpartition("/")[2]
    return path.count("/"), None if last.startswith("{") else last


def _by_parameters(path: str) -> list[bool]:
    """Put a path that is spelt out before one that leaves the same step open."""
    return [step.startswith("{") for step in path.split("/")]


def _decoded(scope: Scope) -> str:
    """Return the path percent-decoded, but for slashes: an id may hold one, and is no path then."""
    path: str = scope["path"]
    parts = _SLASH.split(scope.get("raw_path") or b"")
    if len(parts) == 1:
        return path
    return b"%2F".join(unquote_to_bytes(part) for part in parts).decode("utf-8", "replace")


def _path(path: str, routes: list[Route]) -> starlette.routing.Route:
    return starlette.routing.Route(path, _Path(routes), methods=[route.method for route in routes])


async def _read(request: Request, largest: int) -> bytes:
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > largest:
            raise too_large(largest)
    return bytes(content)
