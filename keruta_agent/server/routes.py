"""The declaration of routes, of this server and of the runner's services.

A reading view gets the store and a connection; a writing one gets a ``Change``, that is, an
open transaction, and its answer is remembered under the request's idempotency key. Both return
JSON values, and get the request, too, where they name it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import Schema
from starlette.responses import Response

from keruta_agent.http import routes
from keruta_agent.http.bodies import SMALL_BODY, to_json
from keruta_agent.http.request import Request
from keruta_agent.http.responses import json_response
from keruta_agent.http.routes import Answer, View, respond_with, with_request
from keruta_agent.http.uploads import Destination, IncomingFile
from keruta_agent.server.access.principals import principal_of
from keruta_agent.server.store import audit_rows, idempotency
from keruta_agent.server.store.store import Store

#: Methods whose answers are remembered under the idempotency key.
_KEYED_METHODS = frozenset({"POST", "PUT", "PATCH"})

#: Documents the header of writes that may be repeated.
KEY_PARAMETER = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "A repeated key is answered as the first time, without acting again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What the views of an application work with; an API that needs more adds it."""

    store: Store


def store_of(request: Request) -> Store:
    """Return the store that the request's application serves."""
    context: Context = request.app.context
    return context.store


class Resource(routes.Resource):
    """A group of routes."""

    def read(
        self,
        path: str,
        *,
        answer: Any = None,
        query: type[Schema] | None = None,
        status: int = 200,
        also: tuple[int, Any] | None = None,
        doc: dict[str, Any] | None = None,
    ) -> Callable[[View], View]:
        """Declare a GET route; ``answer`` documents what it returns, ``also`` a second one."""

        def decorate(view: View) -> View:
            called = with_request(view)

            @functools.wraps(view)
            def respond(request: Request, *args: Any, **path_values: Any) -> Response:
                store = store_of(request)
                with store.database.connected():
                    return respond_with(called(request, store, *args, **path_values), status)

            self.declare(
                "GET", path, respond, answer=answer, query=query, status=status, also=also, doc=doc
            )
            return view

        return decorate

    def write(
        self,
        method: str,
        path: str,
        *,
        answer: Any = None,
        body: type[Schema] | None = None,
        receive: Callable[[Request], Any] | None = None,
        destination: Callable[..., Destination] | None = None,
        status: int = 200,
        also: tuple[int, Any] | None = None,
        doc: dict[str, Any] | None = None,
        keyed: bool = True,
        largest: int = SMALL_BODY,
    ) -> Callable[[View], View]:
        """Declare a writing route.

        ``keyed`` is False where a repeated write must act again, such as a heartbeat: its answer
        is not remembered.

        The body is read by ``body``, or by ``receive`` where it is no object; or it is a form with
        a file, which goes to the ``destination`` (request, path values). All of it happens before
        the transaction begins, which holds up every other write.
        """

        is_keyed = keyed and method in _KEYED_METHODS

        def decorate(view: View) -> View:
            called = with_request(view)

            @functools.wraps(view)
            def respond(request: Request, *args: Any, **path_values: Any) -> Response:
                key = request.headers.get("Idempotency-Key") if is_keyed else None
                received = args if receive is None else (receive(request), *args)
                return _write(
                    request,
                    lambda change: called(request, change, *received, **path_values),
                    status,
                    key,
                )

            documented = {"parameters": [KEY_PARAMETER]} if is_keyed else {}
            self.declare(
                method,
                path,
                respond,
                answer=answer,
                body=body,
                status=status,
                also=also,
                doc=documented | (doc or {}),
                destination=destination and _delivered_once(destination, is_keyed=is_keyed),
                largest=largest,
            )
            return view

        return decorate


def _delivered_once(
    destination: Callable[..., Destination], *, is_keyed: bool
) -> Callable[..., Destination]:
    """Deliver no file of a request that was answered before: nothing will be done with it.

    Where that takes longer than clients wait, they would else never come to the answer.
    """

    def place(request: Request, **path_values: Any) -> Destination:
        found = destination(request, **path_values)
        deliver = found.delivered
        key = request.headers.get("Idempotency-Key") if is_keyed else None
        if deliver is None or key is None:
            return found

        @contextlib.asynccontextmanager
        async def delivered(file: IncomingFile) -> AsyncIterator[None]:
            is_answered = await request.app.run(
                idempotency.is_answered, store_of(request), _scope(request), key
            )
            async with contextlib.nullcontext() if is_answered else deliver(file):
                yield

        return dataclasses.replace(found, delivered=delivered)

    return place


def _scope(request: Request) -> str:
    """Return what the keys of a request are about."""
    scope = f"{request.method} {request.path}"
    bound_to = principal_of(request).scope
    # A key of another session must not fetch its answer.
    return scope if bound_to is None else f"{scope} ({bound_to})"


def _write(request: Request, act: Callable[[Any], Any], status: int, key: str | None) -> Response:
    store = store_of(request)

    def answer(change: Any) -> tuple[str, int]:
        result = act(change)
        # A number of lines has no id.
        if status == HTTPStatus.CREATED and isinstance(result, Mapping) and "id" in result:
            audit_rows.note_created(result["id"])
        if isinstance(result, Answer):
            return to_json(result.body), result.status
        return to_json(result), status

    if key is None:
        with store.writing() as change:
            text, code = answer(change)
        return json_response(text, code)
    text, code, repeated = idempotency.once(store, _scope(request), key, answer)
    response = json_response(text, code)
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response
