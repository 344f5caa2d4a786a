"""Finding sessions and their tasks on every dialect."""

from __future__ import annotations

import logging

import pytest
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from tests.helpers.keruta_wire import API, SPRING_500, Sent, TaskBody

TASKS = f"{API}/sessions/s1/tasks?status=PENDING"
BY_SESSION = f"{API}/tasks/session/s1?status=PENDING"
BY_SESSION_PENDING = f"{API}/tasks/session/s1/pending"


def test_session_of_the_spring_server_is_read(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(
        f"{API}/sessions/s1",
        json={
            "id": "s1",
            "name": "ws-29229ea1-demo-0001",
            "description": None,
            "status": "ACTIVE",
            "tags": [],
            "repositoryUrl": "https://github.com/o/r.git",
            "repositoryRef": "main",
            "templateConfig": None,
            "createdAt": [2025, 9, 30, 13, 46],
        },
    )

    session = client.session("s1")

    assert session.name == "ws-29229ea1-demo-0001"
    assert session.repository_url == "https://github.com/o/r.git"
    assert not session.has_ended


def test_session_id_is_encoded_in_the_path(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(requests_mock.ANY, status_code=404)

    with pytest.raises(errors.ApiNotFound):
        client.session("a/../b?c")

    assert wire.last_request.url == f"{API}/sessions/a%2F..%2Fb%3Fc"


def test_sessions_by_name_are_only_those_of_exactly_this_name(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    names = ["Demo", "demo", "demo-2", "my demo"]
    wire.get(
        f"{API}/sessions/search",
        json=[{"id": str(n), "name": name} for n, name in enumerate(names)],
    )

    found = client.sessions_by_name("demo")

    assert [session.id for session in found] == ["1"]
    assert wire.last_request.qs == {"name": ["demo"]}


def test_sessions_by_name_encode_the_name(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/sessions/search", json=[])

    assert client.sessions_by_name("デモ & co") == []
    assert wire.last_request.url.endswith("?name=%E3%83%87%E3%83%A2+%26+co")


def test_sessions_by_partial_id_keep_only_those_that_begin_with_it(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(
        f"{API}/sessions/search/partial-id?partialId=29229EA1",
        json=[{"id": "29229ea1-aaaa"}, {"id": "00000000-29229ea1"}],
    )

    found = client.sessions_by_partial_id("29229EA1")

    assert [session.id for session in found] == ["29229ea1-aaaa"]


@pytest.mark.parametrize("status", [404, 500])
def test_partial_id_search_that_is_missing_is_unsupported(
    status: int, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/sessions/search/partial-id", status_code=status)

    for _ in range(2):
        with pytest.raises(errors.ApiUnsupported):
            client.sessions_by_partial_id("29229ea1")

    assert wire.call_count == 1


def test_session_by_workspace_that_is_unknown_is_not_found_and_asked_again(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    path = f"{API}/sessions/by-workspace/w1"
    wire.get(path, [{"status_code": 404}, {"json": {"id": "s1", "workspaceId": "w1"}}])

    with pytest.raises(errors.ApiNotFound):
        client.session_by_workspace("w1")

    assert client.session_by_workspace("w1").id == "s1"


def test_session_by_workspace_is_unsupported_on_spring(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/sessions/by-workspace/w1", **SPRING_500)

    with pytest.raises(errors.ApiUnsupported):
        client.session_by_workspace("w1")


def test_pending_tasks_are_sorted_by_priority_then_age(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    newest_first = [
        task_body(id="d", createdAt="2026-01-01T00:00:04Z"),
        task_body(id="c", createdAt=[2026, 1, 1, 0, 0, 3], priority=5),
        task_body(id="b", createdAt=1767225602.0),
        task_body(id="a", createdAt="2026-01-01T00:00:01.123456789", priority=5),
    ]
    wire.get(TASKS, json=newest_first)

    assert [task.id for task in client.pending_tasks("s1")] == ["a", "c", "b", "d"]


def test_pending_tasks_of_all_pages_are_read_from_the_same_server(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    links = ['<?status=PENDING&after=1>; rel="next"', "<http://other.test/x?after=2>; rel=next"]
    wire.get(TASKS, json=[task_body(id="t1")], headers={"Link": links[0]})
    wire.get(f"{TASKS}&after=1", json=[task_body(id="t2")], headers={"Link": links[1]})
    wire.get(f"{API}/sessions/s1/tasks?after=2", json=[task_body(id="t3")])

    assert {task.id for task in client.pending_tasks("s1")} == {"t1", "t2", "t3"}
    assert len(sent()) == 3


@pytest.mark.parametrize("link", ["nonsense", '<>; rel="next"', '<?a=1>; rel="prev"', "<x", ""])
def test_pending_tasks_end_where_no_further_page_can_be_asked_for(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, link: str
) -> None:
    wire.get(TASKS, json=[task_body(id="t1")], headers={"Link": link})

    assert [task.id for task in client.pending_tasks("s1")] == ["t1"]


def test_pending_tasks_end_where_a_page_leads_to_itself(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    wire.get(TASKS, json=[task_body()], headers={"Link": '<?status=PENDING&after=1>; rel="next"'})

    assert [task.id for task in client.pending_tasks("s1")] == ["t1"]
    assert len(sent()) == 2


def test_pending_tasks_of_a_null_list_are_none(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(TASKS, text="null")

    assert list(client.pending_tasks("s1")) == []


def test_pending_tasks_come_out_of_an_envelope(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(TASKS, json={"data": [task_body()], "meta": {}})

    assert [task.id for task in client.pending_tasks("s1")] == ["t1"]


def test_pending_tasks_leave_out_what_cannot_be_read_and_say_so(
    client: KerutaClient,
    wire: requests_mock.Mocker,
    task_body: TaskBody,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = [{"name": "without id"}, task_body(id="x", status="DANCING"), "text"]
    wire.get(TASKS, json=[*bad, task_body()])

    with caplog.at_level(logging.WARNING):
        tasks = list(client.pending_tasks("s1"))

    assert [task.id for task in tasks] == ["t1"]
    assert len(caplog.records) == len(bad)
    assert "without id" not in caplog.text


@pytest.mark.parametrize("body", ['{"id": "t1"}', "<html></html>", "7"])
def test_pending_tasks_that_are_no_list_are_a_failure(
    body: str, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(TASKS, text=body)

    with pytest.raises(errors.ApiFailed):
        client.pending_tasks("s1")


@pytest.mark.parametrize("status", [405, 500])
def test_pending_tasks_use_the_older_route_and_remember_it(
    status: int,
    client: KerutaClient,
    wire: requests_mock.Mocker,
    task_body: TaskBody,
    sent: Sent,
) -> None:
    wire.get(TASKS, status_code=status)
    wire.get(BY_SESSION, json=[task_body(), task_body(id="done", status="COMPLETED")])

    for _ in range(2):
        assert [task.id for task in client.pending_tasks("s1")] == ["t1"]

    assert [path for _, path in sent()] == [
        "/sessions/s1/tasks?status=PENDING",
        "/tasks/session/s1?status=PENDING",
        "/tasks/session/s1?status=PENDING",
    ]


def test_pending_tasks_use_the_oldest_route_last(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(TASKS, **SPRING_500)
    wire.get(BY_SESSION, **SPRING_500)
    wire.get(BY_SESSION_PENDING, json=[task_body()])

    assert [task.id for task in client.pending_tasks("s1")] == ["t1"]


def test_pending_tasks_learn_nothing_from_a_broken_server(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    wire.get(TASKS, [SPRING_500, {"json": [task_body()]}])
    wire.get(BY_SESSION, **SPRING_500)
    wire.get(BY_SESSION_PENDING, **SPRING_500)

    with pytest.raises(errors.ApiFailed):
        client.pending_tasks("s1")

    assert [task.id for task in client.pending_tasks("s1")] == ["t1"]
    assert sent()[-1] == ("GET", "/sessions/s1/tasks?status=PENDING")


def test_pending_tasks_of_an_unknown_session_are_not_found(
    client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.get(TASKS, status_code=404)
    wire.get(f"{API}/sessions/s1", status_code=404)

    with pytest.raises(errors.ApiNotFound):
        client.pending_tasks("s1")

    assert len(sent()) == 2


def test_pending_tasks_of_a_known_session_on_a_server_without_the_route(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(TASKS, status_code=404)
    wire.get(f"{API}/sessions/s1", json={"id": "s1"})
    wire.get(BY_SESSION, json=[task_body()])

    assert [task.id for task in client.pending_tasks("s1")] == ["t1"]


def test_pending_tasks_do_not_change_route_when_the_server_breaks_later(
    client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.get(TASKS, [{"json": []}, SPRING_500])

    client.pending_tasks("s1")
    with pytest.raises(errors.ApiFailed):
        client.pending_tasks("s1")

    assert len(sent()) == 2


def test_workspace_pending_tasks_are_filtered_and_sorted(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(
        f"{API}/workspaces/w%201/tasks/pending",
        json=[task_body(id="b"), task_body(id="x", status="FAILED"), task_body(id="a")],
    )

    assert [task.id for task in client.workspace_pending_tasks("w 1")] == ["a", "b"]


def test_workspace_pending_tasks_are_unsupported_on_spring(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/workspaces/w1/tasks/pending", **SPRING_500)

    with pytest.raises(errors.ApiUnsupported):
        client.workspace_pending_tasks("w1")


@pytest.mark.parametrize("answer", [{"status_code": 404}, SPRING_500])
def test_name_search_that_answers_404_or_500_is_a_missing_route(
    answer: dict[str, object], client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.get(f"{API}/sessions/search?name=demo", **answer)

    for _ in range(2):  # the second time it is known
        with pytest.raises(errors.ApiUnsupported, match="no search of sessions by name"):
            client.sessions_by_name("demo")

    assert len(sent()) == 1


def test_all_sessions_are_listed(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/sessions", json=[{"id": "s1", "name": "one", "status": "RUNNING"}])

    assert [session.id for session in client.all_sessions()] == ["s1"]
