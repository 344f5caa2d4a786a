"""Which route answers which path, and what it is given of the query."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from marshmallow import fields
from starlette.responses import Response

from keruta_agent.http.application import Application, Hooks
from keruta_agent.http.failures import Failures
from keruta_agent.http.fields import RequestSchema
from keruta_agent.http.openapi import Document
from keruta_agent.http.request import Request
from keruta_agent.http.responses import json_value
from keruta_agent.http.routes import Resource
from tests.helpers.asgi_client import Client


class _Query(RequestSchema):
    names = fields.List(fields.String(), load_default=list)
    size = fields.Integer(load_default=1)


def _application() -> Application:
    resource = Resource("things", "Things")

    def told(name: str) -> Any:
        def respond(request: Request, *args: Any, **values: str) -> Response:
            return json_value([name, values])

        return respond

    for path in ("/a", "/a/{x}", "/a/{x}/end", "/a/b/{y}", "/{x}/b/end", "/a/b"):
        resource.declare("GET", path, told(path))
    resource.declare("PUT", "/a/{x}", told("PUT"))

    def grow(request: Request, query: dict[str, Any]) -> Response:
        query["size"] += 1
        return json_value(query["size"])

    resource.declare("GET", "/query", grow, query=_Query)
    failures = Failures(storage=(), damages=(), when_damaged="")
    app = Application(
        None, Document("test", security=[]), Hooks(admit=lambda _: None, failures=failures)
    )
    app.add(resource)
    return app


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with contextlib.closing(_application()) as app:
        yield Client(app)


@pytest.mark.parametrize(
    ("path", "route", "values"),
    [
        ("/a", "/a", {}),
        ("/a/c", "/a/{x}", {"x": "c"}),
        ("/a/b", "/a/b", {}),
        ("/a/c/end", "/a/{x}/end", {"x": "c"}),
        ("/a/b/end", "/a/b/{y}", {"y": "end"}),  # the first step that differs is spelt out
        ("/c/b/end", "/{x}/b/end", {"x": "c"}),
        ("/a/b/c", "/a/b/{y}", {"y": "c"}),
        ("/a/{x}", "/a/{x}", {"x": "{x}"}),
    ],
)
def test_path_is_answered_by_the_route_that_spells_out_most(
    client: Client, path: str, route: str, values: dict[str, str]
) -> None:
    assert client.get(path).json() == [route, values]


@pytest.mark.parametrize("path", ["/", "/b", "/a/", "/a/c/d", "/a/b/end/x", "//a", "/A"])
def test_path_of_no_route_is_not_found(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ROUTE_NOT_FOUND")


def test_method_that_a_path_lacks_is_refused_with_those_it_has(client: Client) -> None:
    answer = client.request("PATCH", "/a/c")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "PUT"}


@pytest.mark.parametrize("query", ["?size=5", "?size=5&" + "x" * 200 + "=y"])
def test_view_that_changes_its_query_changes_that_of_no_other_request(
    client: Client, query: str
) -> None:
    assert [client.get(f"/query{query}").json() for _ in range(3)] == [6, 6, 6]


def test_query_that_is_wrong_is_refused_each_time(client: Client) -> None:
    answers = [client.get("/query?size=x") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [400, 400]
