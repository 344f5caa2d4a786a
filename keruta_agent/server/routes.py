"""The declaration of routes, of this server and of the runner's services.

A reading view gets the store and a connection; a writing one gets a ``Change``, that is, an
open transaction, and its answer is remembered under the request's idempotency key. Both return
JSON values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flask
from marshmallow import Schema

from keruta_agent.http import routes
from keruta_agent.http.bodies import to_json
from keruta_agent.http.routes import Answer, View, json_response, respond_with
from keruta_agent.server.store import idempotency
from keruta_agent.server.store.protocol import StoreProtocol

#: Where the application keeps its store.
STORE_KEY = "keruta-store"

#: Methods whose answers are remembered under the idempotency key.
_KEYED_METHODS = frozenset({"POST", "PUT", "PATCH"})

#: Documents the header of writes that may be repeated.
KEY_PARAMETER = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "A repeated key is answered as the first time, without acting again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def current_store() -> Any:
    """Return the store of the application that serves this request: a ``StoreProtocol``."""
    return flask.current_app.extensions[STORE_KEY]


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
            @functools.wraps(view)
            def respond(*args: Any, **path_values: Any) -> flask.Response:
                store = current_store()
                with store.database.connected():
                    return respond_with(view(store, *args, **path_values), status)

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
        receive: Callable[..., AbstractContextManager[Any]] | None = None,
        status: int = 200,
        also: tuple[int, Any] | None = None,
        doc: dict[str, Any] | None = None,
        keyed: bool = True,
    ) -> Callable[[View], View]:
        """Declare a writing route.

        ``keyed`` is False where a repeated write must act again, such as a heartbeat: its answer
        is not remembered.

        The body is read by ``body``, or by ``receive`` (store, path values) where it is too large
        for a schema; both happen before the transaction begins, which holds up every other write.
        """

        is_keyed = keyed and method in _KEYED_METHODS

        def decorate(view: View) -> View:
            @functools.wraps(view)
            def respond(*args: Any, **path_values: Any) -> flask.Response:
                store = current_store()
                key = flask.request.headers.get("Idempotency-Key") if is_keyed else None
                if receive is None:
                    return _write(
                        store, lambda change: view(change, *args, **path_values), status, key
                    )
                with receive(store, **path_values) as received:
                    return _write(
                        store, lambda change: view(change, received, **path_values), status, key
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
            )
            return view

        return decorate


def _write(
    store: StoreProtocol, act: Callable[[Any], Any], status: int, key: str | None
) -> flask.Response:
    def answer(change: Any) -> tuple[str, int]:
        result = act(change)
        if isinstance(result, Answer):
            return to_json(result.body), result.status
        return to_json(result), status

    if key is None:
        with store.writing() as change:
            text, code = answer(change)
        return json_response(text, code)
    scope = f"{flask.request.method} {flask.request.path}"
    text, code, repeated = idempotency.once(store, scope, key, answer)
    response = json_response(text, code)
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response
