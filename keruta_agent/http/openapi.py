"""The OpenAPI document of an application, made from its routes when somebody asks for it.

The one place that touches apispec.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from marshmallow import Schema

from keruta_agent.http.fields import ErrorAnswer

if TYPE_CHECKING:
    from keruta_agent.http.routes import Documentation, Resource, Route

#: Where every application shows its OpenAPI document.
OPENAPI_PATH: Final = "/openapi.json"

_DEFAULT: Final = {"$ref": "#/components/responses/DEFAULT_ERROR"}
_BAD_REQUEST: Final = {"$ref": "#/components/responses/BAD_REQUEST"}
_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")


class Document:
    """The OpenAPI document of one application."""

    def __init__(
        self,
        title: str,
        *,
        security: list[dict[str, list[str]]],
        fields: Mapping[type, tuple[str, str | None]] | None = None,
        schemas: Mapping[str, type[Schema]] | None = None,
    ) -> None:
        """Take what no route says.

        Args:
            title: of the API.
            security: who is let in.
            fields: types and formats of fields that are not marshmallow's.
            schemas: those that routes refer to by name.
        """
        self._title = title
        self._security = security
        self._fields = fields or {}
        self._schemas = schemas or {}
        self._resources: list[Resource] = []

    def add(self, resource: Resource) -> None:
        """Describe the routes of a resource, too."""
        self._resources.append(resource)

    @functools.cached_property
    def _made(self) -> dict[str, Any]:
        # A tenth of a second to load and as much to make, for a document few ask for.
        from apispec import APISpec
        from apispec.ext.marshmallow import MarshmallowPlugin

        plugin = MarshmallowPlugin()
        spec = APISpec(
            self._title,
            "v1",
            "3.1.0",
            plugins=[plugin],
            security=self._security,
        )
        for field, (kind, form) in self._fields.items():
            plugin.map_to_openapi_type(field, kind, form)  # type: ignore[no-untyped-call]
        spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
        spec.components.response("DEFAULT_ERROR", _error("Default error response"))
        spec.components.response("BAD_REQUEST", _error(HTTPStatus.BAD_REQUEST.phrase))
        for name, schema in self._schemas.items():
            spec.components.schema(name, schema=schema)
        for resource in self._documented():
            spec.tag({"name": resource.name, "description": resource.description})
            for route in resource.routes:
                if route.documentation is not None:
                    _describe(spec, route, route.documentation)
        made: dict[str, Any] = spec.to_dict()
        return made

    def to_json(self) -> dict[str, Any]:
        """Return the document as a JSON value."""
        return self._made

    def _documented(self) -> Iterable[Resource]:
        for resource in self._resources:
            if any(route.documentation is not None for route in resource.routes):
                yield resource


def _describe(spec: Any, route: Route, documentation: Documentation) -> None:
    operation: dict[str, Any] = {
        "tags": [route.group],
        "summary": documentation.summary,
        "responses": _responses(route, documentation),
    }
    if documentation.description:
        operation["description"] = documentation.description
    if route.query is not None:
        operation["parameters"] = [{"in": "query", "schema": route.query}]
    if route.body is not None:
        content = {"application/json": {"schema": route.body}}
        operation["requestBody"] = {"required": True, "content": content}
    names = _PARAMETER.findall(route.path)
    parameters = [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]
    spec.path(
        _PARAMETER.sub(r"{\1}", route.path),
        operations={route.method.lower(): _merged(operation, documentation.more)},
        parameters=parameters,
    )


def _responses(route: Route, documentation: Documentation) -> dict[str, Any]:
    found = {str(documentation.status): _response(documentation.status, documentation.answer)}
    if documentation.also is not None:
        status, answer = documentation.also
        found[str(status)] = _response(status, answer)
    if route.query is not None or route.body is not None:
        found["400"] = _BAD_REQUEST
    return found | {"default": _DEFAULT}


def _response(status: int, answer: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if answer is not None:
        schema = answer() if inspect.isclass(answer) else answer
        response["content"] = {"application/json": {"schema": schema}}
    return response


def _error(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": ErrorAnswer}}
    return {"description": description, "content": content}


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return both, the other where they differ; lists are joined."""
    found = dict(one)
    for key, value in other.items():
        known = found.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            found[key] = _merged(known, value)
        elif isinstance(known, list) and isinstance(value, list):
            found[key] = [*known, *value]
        else:
            found[key] = value
    return found
