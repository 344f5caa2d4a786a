"""Declares routes: the one place that touches the untyped OpenAPI library.

A view is a plain function. A reading one gets the ``Store`` and a connection; a writing one gets a
``Change``, that is, an open transaction, and its answer is remembered under the request's
idempotency key. Both return JSON values.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NoReturn, TypeVar

import flask
from flask_smorest import Api, Blueprint
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser

from keruta_agent.server import idempotency
from keruta_agent.server.bodies import read_json
from keruta_agent.server.problems import invalid
from keruta_agent.server.schemas import ErrorAnswer
from keruta_agent.server.store import Store
from keruta_agent.server.tables import to_json

#: Where the application keeps its store.
STORE_KEY = "keruta-store"

#: Methods whose answers are remembered under the idempotency key.
_KEYED_METHODS = frozenset({"POST", "PUT", "PATCH"})

_KEY_PARAMETER = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "A repeated key is answered as the first time, without acting again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}

_View = TypeVar("_View", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer whose status differs from the one declared."""

    body: Any
    status: int


def current_store() -> Store:
    """Returns the store of the application that serves this request."""
    store = flask.current_app.extensions[STORE_KEY]
    if not isinstance(store, Store):
        raise TypeError("the application has no store")
    return store


class _Parser(FlaskParser):  # type: ignore[misc]
    DEFAULT_VALIDATION_STATUS = 400

    def load_json(self, req: Any, schema: Schema) -> Any:
        # No body at all counts as an empty object, so that missing fields are named.
        found = read_json(req)
        return {} if found is None and not req.content_length else found

    def handle_error(
        self,
        error: ValidationError,
        req: Any,
        schema: Schema,
        *,
        error_status_code: int | None,
        error_headers: Any,
    ) -> NoReturn:
        location = error.messages
        inner = next(iter(location.values())) if isinstance(location, dict) else location
        field, message = _first_problem(inner, "")
        raise invalid(field, message)


def _first_problem(messages: Any, path: str) -> tuple[str, str]:
    """Returns the path of the first wrong field and what is wrong with it."""
    if isinstance(messages, dict) and messages:
        name, inner = next(iter(messages.items()))
        step = "body" if name == "_schema" else str(name)
        return _first_problem(inner, f"{path}.{step}" if path else step)
    if isinstance(messages, list) and messages:
        return _first_problem(messages[0], path)
    return path or "body", str(messages)


class _Blueprint(Blueprint):  # type: ignore[misc]
    ARGUMENTS_PARSER = _Parser()


class DocumentedApi(Api):  # type: ignore[misc]
    """The OpenAPI document of an application, with this server's shape of errors."""

    ERROR_SCHEMA = ErrorAnswer


class Resource:
    """A group of routes."""

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self._blueprint = _Blueprint(name, name, description=description)

    def register(self, api: DocumentedApi) -> None:
        """Adds the routes to an application."""
        api.register_blueprint(self._blueprint)

    def plain(self, path: str) -> Callable[[_View], _View]:
        """Declares a GET route outside of the OpenAPI document, such as a stream."""

        def decorate(view: _View) -> _View:
            self._blueprint.record(
                lambda state: state.app.add_url_rule(path, view.__name__, view, methods=["GET"])
            )
            return view

        return decorate

    def read(
        self,
        path: str,
        *,
        answer: Any = None,
        query: type[Schema] | None = None,
        status: int = 200,
        also: tuple[int, Any] | None = None,
        doc: dict[str, Any] | None = None,
    ) -> Callable[[_View], _View]:
        """Declares a GET route; ``answer`` documents what it returns, ``also`` a second one."""

        def decorate(view: _View) -> _View:
            @functools.wraps(view)
            def respond(*args: Any, **path_values: Any) -> flask.Response:
                store = current_store()
                with store.database.connected():
                    return _response(view(store, *args, **path_values), status)

            documented = self._documented(respond, status, answer, also, doc)
            if query is not None:
                documented = self._blueprint.arguments(query, location="query")(documented)
            self._blueprint.route(path, methods=["GET"])(documented)
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
    ) -> Callable[[_View], _View]:
        """Declares a writing route.

        The body is read by ``body``, or by ``receive`` (store, path values) where it is too large
        for a schema; both happen before the transaction begins, which holds up every other write.
        """

        def decorate(view: _View) -> _View:
            @functools.wraps(view)
            def respond(*args: Any, **path_values: Any) -> flask.Response:
                store = current_store()
                if receive is None:
                    return _write(store, lambda change: view(change, *args, **path_values), status)
                with receive(store, **path_values) as received:
                    return _write(
                        store, lambda change: view(change, received, **path_values), status
                    )

            documented = self._documented(respond, status, answer, also, doc)
            if method in _KEYED_METHODS:
                documented = self._blueprint.doc(parameters=[_KEY_PARAMETER])(documented)
            if body is not None:
                documented = self._blueprint.arguments(body, location="json")(documented)
            self._blueprint.route(path, methods=[method])(documented)
            return view

        return decorate

    def _documented(
        self,
        view: Any,
        status: int,
        answer: Any,
        also: tuple[int, Any] | None,
        doc: dict[str, Any] | None,
    ) -> Any:
        documented = self._blueprint.response(status, answer)(view)
        if also is not None:
            documented = self._blueprint.alt_response(also[0], schema=also[1])(documented)
        return self._blueprint.doc(**doc)(documented) if doc else documented


def _response(result: Any, status: int) -> flask.Response:
    if isinstance(result, flask.Response):
        return result
    if isinstance(result, Answer):
        return json_response(to_json(result.body), result.status)
    return json_response(to_json(result), status)


def json_response(text: str, status: int) -> flask.Response:
    """Returns JSON text as an answer; 204 carries none."""
    if status == 204:
        return flask.Response(status=204)
    return flask.Response(text + "\n", status=status, content_type="application/json")


def _write(store: Store, act: Callable[[Any], Any], status: int) -> flask.Response:
    def answer(change: Any) -> tuple[str, int]:
        result = act(change)
        if isinstance(result, Answer):
            return to_json(result.body), result.status
        return to_json(result), status

    request = flask.request
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method not in _KEYED_METHODS:
        with store.writing() as change:
            text, code = answer(change)
        return json_response(text, code)
    scope = f"{request.method} {request.path}"
    text, code, repeated = idempotency.once(store, scope, key, answer)
    response = json_response(text, code)
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return response
