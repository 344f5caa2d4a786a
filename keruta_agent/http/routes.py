"""The declaration of documented routes: the one place that touches the untyped OpenAPI library.

A view is a plain function that returns JSON values. What it is called with, such as a database, is
the business of the API that it belongs to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, TypeVar

import flask
from flask_smorest import Api, Blueprint
from marshmallow import Schema, ValidationError
from webargs.flaskparser import FlaskParser

from keruta_agent.http.bodies import read_json, to_json
from keruta_agent.http.fields import ErrorAnswer
from keruta_agent.http.problems import invalid

View = TypeVar("View", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer whose status differs from the one declared."""

    body: Any
    status: int


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
        field, message = first_problem(inner, "")
        raise invalid(field, message)


def first_problem(messages: Any, path: str = "") -> tuple[str, str]:
    """Return the path of the first wrong field and what is wrong with it."""
    if isinstance(messages, dict) and messages:
        name, inner = next(iter(messages.items()))
        step = "body" if name == "_schema" else str(name)
        return first_problem(inner, f"{path}.{step}" if path else step)
    if isinstance(messages, list) and messages:
        return first_problem(messages[0], path)
    return path or "body", str(messages)


class _Blueprint(Blueprint):  # type: ignore[misc]
    ARGUMENTS_PARSER = _Parser()


#: Where every application shows its OpenAPI document.
OPENAPI_PATH: Final = "/openapi.json"


class DocumentedApi(Api):  # type: ignore[misc]
    """The OpenAPI document of an application, with our shape of errors and access by a token."""

    ERROR_SCHEMA = ErrorAnswer

    def __init__(self, app: flask.Flask, *, title: str) -> None:
        app.config.update(
            API_TITLE=title,
            API_VERSION="v1",
            OPENAPI_VERSION="3.1.0",
            OPENAPI_URL_PREFIX="/",
            OPENAPI_JSON_PATH=OPENAPI_PATH.lstrip("/"),
        )
        super().__init__(app)
        self.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})


class Resource:
    """A group of routes."""

    def __init__(self, name: str, description: str) -> None:
        self.name = name
        self._blueprint = _Blueprint(name, name, description=description)

    def register(self, api: DocumentedApi) -> None:
        """Add the routes to an application."""
        api.register_blueprint(self._blueprint)

    def plain(self, path: str) -> Callable[[View], View]:
        """Declare a GET route outside of the OpenAPI document, such as a stream."""

        def decorate(view: View) -> View:
            self._blueprint.record(
                # The OpenAPI library cannot do with no defaults at all.
                lambda state: state.app.add_url_rule(
                    path, view.__name__, view, methods=["GET"], defaults={}
                )
            )
            return view

        return decorate

    def declare(
        self,
        method: str,
        path: str,
        respond: Callable[..., flask.Response],
        *,
        answer: Any = None,
        query: type[Schema] | None = None,
        body: type[Schema] | None = None,
        status: int = 200,
        also: tuple[int, Any] | None = None,
        doc: Mapping[str, Any] | None = None,
    ) -> None:
        """Declare a route.

        Args:
            method: of HTTP.
            path: as Flask writes it.
            respond: answers; it is called with the query or body and the values in the path.
            answer: documents what is answered, with ``status``; ``also`` a second one.
            query: reads the query.
            body: reads the body.
            status: of an answer.
            also: status and schema.
            doc: more for the OpenAPI document.
        """
        documented = self._blueprint.response(status, answer)(respond)
        if also is not None:
            documented = self._blueprint.alt_response(also[0], schema=also[1])(documented)
        if doc:
            documented = self._blueprint.doc(**doc)(documented)
        if query is not None:
            documented = self._blueprint.arguments(query, location="query")(documented)
        if body is not None:
            documented = self._blueprint.arguments(body, location="json")(documented)
        self._blueprint.route(path, methods=[method])(documented)


def respond_with(result: Any, status: int) -> flask.Response:
    """Return what a view returned as an answer."""
    if isinstance(result, flask.Response):
        return result
    if isinstance(result, Answer):
        return json_response(to_json(result.body), result.status)
    return json_response(to_json(result), status)


def json_response(text: str, status: int) -> flask.Response:
    """Return JSON text as an answer; 204 carries none."""
    if status == 204:
        return flask.Response(status=204)
    return flask.Response(text + "\n", status=status, content_type="application/json")
