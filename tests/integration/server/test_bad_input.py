"""Whatever is sent and whatever breaks, the answer is JSON; bad input is no server error."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from pathlib import Path

import pytest

from keruta_agent.server.application import create_application
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.databases import url_of

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "nonsense",
        '{"name": NaN}',
        '{"name": ' + "9" * 5000 + "}",
        '{"name":' + DEEP + "}",
        '"\\ud800"',
        "\xff\xfe",
        "null",
        "[]",
        "5",
        "",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sessions"),
        ("POST", "/tasks"),
        ("PUT", "/tasks/{task}/status"),
        ("PATCH", "/tasks/{task}/progress"),
        ("POST", "/tasks/{task}/input"),
    ],
)
def test_body_that_is_no_json_object_is_refused(
    api: ApiCaller, method: str, path: str, body: str
) -> None:
    path = path.format(task=api.task()["id"])
    raw = body.encode("latin-1")
    response = api.call(method, path, data=raw, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_INPUT"


def test_log_list_nested_too_deeply_is_refused(api: ApiCaller) -> None:
    path = f"/tasks/{api.task()['id']}/logs"
    response = api.call("POST", path, data=DEEP, content_type="application/json")
    assert response.status_code == 400


@pytest.mark.parametrize("value", ["[" * 60 + "]" * 60, "1e999", '{"a":' * 60 + "1" + "}" * 60])
def test_free_object_that_cannot_be_written_again_is_refused(api: ApiCaller, value: str) -> None:
    task = api.task()["id"]
    for method, path, field, body in (
        ("PUT", "", "parameters", f'{{"parameters":{{"x":{value}}}}}'),
        ("POST", "/metrics", "body", f'{{"x":{value}}}'),
        ("POST", "/logs", "metadata", f'{{"message":"m","metadata":{{"x":{value}}}}}'),
    ):
        response = api.call(
            method, f"/tasks/{task}{path}", data=body, content_type="application/json"
        )
        assert response.status_code == 400
        assert response.json()["error"]["field"] == field


def test_free_object_comes_back_as_it_was_sent(api: ApiCaller) -> None:
    task = api.task()["id"]
    odd = r'{"a":"\u0000\ud800","b":123456789012345678901234567890,"":null,"日":[1.5,true]}'
    body = f'{{"parameters":{odd}}}'.encode()
    answer = api.call("PUT", f"/tasks/{task}", data=body, content_type="application/json")
    assert answer.status_code == 200
    assert api.get(f"/tasks/{task}")["parameters"] == {
        "a": "\0\ud800",
        "b": 123456789012345678901234567890,
        "": None,
        "日": [1.5, True],
    }


def test_body_of_another_type_is_refused_without_saying_unsupported(api: ApiCaller) -> None:
    response = api.call("POST", "/sessions", data='{"name":"x"}', content_type="text/plain")
    assert response.status_code == 400
    assert "application/json" in response.json()["error"]["message"]


@pytest.mark.parametrize("identifier", ["%00", "a%00b", "%ff%fe", "..", "%2e%2e", "'--", "日本"])
def test_odd_id_is_unknown(api: ApiCaller, identifier: str) -> None:
    for path in (f"/tasks/{identifier}", f"/sessions/{identifier}/tasks"):
        response = api.call("GET", path)
        assert response.status_code == 404
        assert response.json()["error"]["status"] == 404


def test_odd_query_is_answered(api: ApiCaller) -> None:
    for query in ("name=%00", "name=%ff", "name=" + "x" * 10_000):
        assert api.call("GET", f"/sessions/search?{query}").status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/tasks/x/nothing", "/api/v2/tasks", "/health/x"])
def test_unknown_route_is_told_in_json(api: ApiCaller, path: str) -> None:
    error = api.error("GET", path, None, 404)
    assert error["code"] == "ROUTE_NOT_FOUND"
    assert error["message"].startswith("there is no GET /")


def test_wrong_method_is_told_in_json(api: ApiCaller) -> None:
    response = api.call("DELETE", "/sessions")
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("failure", [OSError(28, "full"), sqlite3.OperationalError("full")])
def test_full_disk_has_the_client_come_back_and_takes_one_line_of_the_log(
    api: ApiCaller,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    task = api.task()["id"]

    def fail(*args: object) -> None:
        raise failure

    monkeypatch.setattr(task_rows, "update", fail)
    response = api.call("PUT", f"/tasks/{task}/status", json={"status": "PROCESSING"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert response.json()["error"]["code"] == "STORAGE_ERROR"
    told = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert [(one.message, one.exc_info) for one in told] == [(f"storage failed: {failure}", None)]
    monkeypatch.undo()
    assert api.get(f"/tasks/{task}")["status"] == "PENDING"


def test_crash_is_told_in_json_without_its_text(
    api: ApiCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(task_rows, "find", crash)
    response = api.call("GET", "/tasks/x")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tasks/{task}/logs", {"message": "m", "metadata": {"a": [{}] * 600_000}}, 413),
        ("/tasks/{task}/logs", {"message": "m", "metadata": {"a": [{}] * 100_000}}, 400),
        ("/tasks/{task}/metrics", {"a": [[]] * 60_000}, 400),
        ("/sessions", {"name": "x", "templateConfig": {"a": [0] * 200_000}}, 413),
        ("/sessions", {"name": "x" * (17 * 1024 * 1024)}, 413),
    ],
)
def test_more_values_than_anybody_needs_are_refused(
    api: ApiCaller, path: str, body: object, status: int
) -> None:
    response = api.call("POST", path.format(task=api.task()["id"]), json=body)
    assert response.status_code == status
    assert response.json()["error"]["code"] == (
        "BODY_TOO_LARGE" if status == 413 else "INVALID_INPUT"
    )


@pytest.mark.on_sqlite
def test_damaged_page_of_the_database_is_told_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(Store.open(tmp_path, url_of(tmp_path))) as store:
        api = ApiCaller(create_application(store))
        task = api.task()["id"]
        entries = [{"message": "x" * 2000}] * 100
        api.send("POST", f"/tasks/{task}/logs", entries, status=201)
    database = tmp_path / "server.db"
    with database.open("r+b") as file:  # its last pages hold the log
        file.seek(-40 * 4096, 2)
        file.write(b"\xff" * 40 * 4096)
    with contextlib.closing(Store.open(tmp_path, url_of(tmp_path))) as store:
        api = ApiCaller(create_application(store))
        response = api.call("GET", f"/tasks/{task}/logs?size=1000")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "STORAGE_DAMAGED")
        assert "restore its database" in response.json()["error"]["message"]
        assert [record.exc_info for record in caplog.records if record.exc_info] == []
        assert api.get(f"/tasks/{task}")["id"] == task
