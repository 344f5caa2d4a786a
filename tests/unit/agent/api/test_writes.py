"""The test of a write distinguishes the API's own refusals from those of a proxy before it."""

from __future__ import annotations

import re

import pytest
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from tests.helpers.keruta_wire import API, SPRING_500

STATUS = re.compile(rf"{API}/tasks/[0-9a-f-]+/status")
TASK = re.compile(rf"{API}/tasks/[0-9a-f-]+$")
HTML = {"text": "<html><body>Forbidden</body></html>", "headers": {"Content-Type": "text/html"}}
NO_TASK = {"json": {"error": {"code": "TASK_NOT_FOUND", "message": "no such task", "status": 404}}}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (404, NO_TASK),
        (400, {"json": {"error": "Invalid request", "message": "no such task"}}),
        (409, {"json": {"error": {"code": "CONFLICT"}}}),
        (400, {"json": []}),
        (404, {"json": {"timestamp": 1, "status": 404, "error": "Not Found", "path": "/x"}}),
        (200, {"json": {"id": "x"}}),
        (204, {}),
    ],
)
def test_refusal_in_a_form_of_the_api_shows_that_writes_arrive(
    status: int, answer: dict[str, object], client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=status, **answer)

    client.check_writes()


def test_test_writes_a_final_state_for_a_task_that_nobody_has(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=404, **NO_TASK)

    client.check_writes()
    client.check_writes()

    first, second = wire.request_history
    assert first.json()["status"] == second.json()["status"] == "FAILED"
    assert first.path != second.path
    assert {first.method, second.method} == {"PUT"}


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, HTML),
        (405, HTML),
        (200, HTML),
        (200, {"text": "<!doctype html><title>Log in</title>"}),
        (200, {"text": "OK, thank you"}),
        (403, {"text": "RBAC: access denied"}),
        (403, {"json": {"message": "Missing Authentication Token"}}),
        (405, {"json": {"error": "Method Not Allowed"}}),
        (404, {"json": {"error": {"code": "ROUTE_NOT_FOUND", "message": "no such route"}}}),
        (404, {"json": {"message": "no Route matched with those values"}}),
        (404, HTML),
        (404, {}),
        (501, HTML),
        (413, HTML),
        (302, {"headers": {"Location": "https://login.test/?next=x"}}),
        (307, {"headers": {"Location": "https://other.test/api/v1/tasks"}}),
    ],
)
def test_what_stands_before_the_api_blocks_writes(
    status: int, answer: dict[str, object], client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=status, **answer)
    wire.get(TASK, status_code=404, **NO_TASK)

    with pytest.raises(errors.ApiBlocked) as caught:
        client.check_writes()

    assert caught.value.status == status
    assert "KERUTA_API_URL" in caught.value.advice


def test_login_page_on_the_same_host_blocks_writes(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=302, headers={"Location": "/login"})
    wire.put("http://keruta.test/login", **HTML)

    with pytest.raises(errors.ApiBlocked, match="something else answered 200"):
        client.check_writes()


@pytest.mark.parametrize("answer", [{}, HTML, {"text": "404 page not found"}])
def test_server_that_reads_and_writes_a_missing_task_alike_takes_writes(
    answer: dict[str, object], client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=404, **answer)
    wire.get(TASK, status_code=404, **answer)

    client.check_writes()


@pytest.mark.parametrize("status", [400, 422])
def test_server_whose_ids_are_numbers_takes_writes(
    status: int, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    answer = {"json": {"detail": [{"loc": ["path", "id"], "msg": "no integer"}]}}
    wire.put(STATUS, status_code=status, **answer)
    wire.get(TASK, status_code=status, **answer)

    client.check_writes()


def test_routes_that_seemed_missing_while_writes_were_blocked_are_asked_anew(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    progress = wire.patch(re.compile(r".*/progress$"), status_code=405, **HTML)
    wire.post(re.compile(r".*/logs$"), status_code=405, **HTML)
    wire.put(STATUS, status_code=405, **HTML)
    for _ in range(2):
        with pytest.raises(errors.ApiError):
            client.send_progress("t", 1, "", key="k")
    assert progress.call_count == 1
    with pytest.raises(errors.ApiBlocked):
        client.check_writes()

    with pytest.raises(errors.ApiError):
        client.send_progress("t", 1, "", key="k")
    assert progress.call_count == 2


@pytest.mark.parametrize("status", [401, 403])
def test_api_that_takes_no_writes_with_the_token_says_so_itself(
    status: int, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=status, json={"error": {"code": "FORBIDDEN"}})

    with pytest.raises(errors.ApiUnauthorized):
        client.check_writes()


@pytest.mark.parametrize("answer", [SPRING_500, {"status_code": 503, **HTML}])
def test_broken_or_busy_server_proves_nothing(
    answer: dict[str, object], client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, **answer)

    with pytest.raises(errors.ApiError) as caught:
        client.check_writes()

    assert not isinstance(caught.value, errors.ApiBlocked | errors.ApiUnauthorized)
