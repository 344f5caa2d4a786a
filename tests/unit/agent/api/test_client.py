"""The remaining calls: progress, creating tasks, input."""

from __future__ import annotations

import threading

import pytest
import requests
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import Task, TaskStatus
from tests.helpers.keruta_wire import API, SPRING_500, Sent, TaskBody

PROGRESS = f"{API}/tasks/t1/progress"
LOGS = f"{API}/tasks/t1/logs"
INPUT = f"{API}/tasks/t1/input"


def test_progress_goes_to_its_own_route(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.patch(PROGRESS, json={})

    client.send_progress("t1", 50, "半分", key="k")

    assert wire.last_request.json() == {"progress": 50, "message": "半分"}
    assert wire.last_request.headers["Idempotency-Key"] == "k"


def test_progress_without_words_leaves_the_last_message_alone(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.patch(PROGRESS, json={})

    client.send_progress("t1", 0, "", key="k")

    assert wire.last_request.json() == {"progress": 0}


@pytest.mark.parametrize(
    ("message", "line"), [("half", "progress 50%: half"), ("", "progress 50%")]
)
def test_progress_is_a_log_line_where_the_route_is_missing(
    message: str,
    line: str,
    client: KerutaClient,
    wire: requests_mock.Mocker,
    task_body: TaskBody,
    sent: Sent,
) -> None:
    wire.get(f"{API}/tasks/t1", json=task_body())
    wire.patch(PROGRESS, **SPRING_500)
    wire.post(LOGS, status_code=201, json={"stored": 1})

    client.send_progress("t1", 50, message, key="k1")
    client.send_progress("t1", 50, message, key="k2")

    assert [method for method, _ in sent()] == ["PATCH", "GET", "PATCH", "POST", "POST"]
    assert wire.last_request.json() == [{"level": "INFO", "message": line, "source": "agent"}]


def test_progress_goes_into_the_status_only_when_configured(
    wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", json=task_body())
    wire.patch(PROGRESS, **SPRING_500)
    wire.put(f"{API}/tasks/t1/status", json=task_body(status="PROCESSING"))

    with KerutaClient("http://keruta.test", progress_via_status=True) as client:
        client.send_progress("t1", 50, "half", key="k")

    assert wire.last_request.json() == {
        "status": "PROCESSING",
        "message": "half",
        "progress": 50,
        "errorCode": "",
    }


def test_progress_of_a_finished_task_is_a_conflict(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.patch(PROGRESS, status_code=409)

    with pytest.raises(errors.ApiConflict):
        client.send_progress("t1", 50, "", key="k")


def test_subtask_is_created_with_the_fields_that_servers_know(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    created = task_body(id="t2", parentTaskId="t1")
    wire.post(f"{API}/tasks/t1/subtasks", status_code=201, json=created)

    task = client.create_subtask(
        "t1",
        Task(
            id="ignored", status=TaskStatus.FAILED, name="fix", script="true", parameters={"a": 1}
        ),
        key="k",
    )

    assert (task.id, task.parent_task_id) == ("t2", "t1")
    assert wire.last_request.json() == {
        "name": "fix",
        "description": "",
        "script": "true",
        "parameters": {"a": 1},
    }


def test_task_is_created_in_its_session_with_priority_and_parent(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.post(f"{API}/tasks", status_code=201, json=task_body())

    client.create_task(
        Task(id="", session_id="s1", name="n", priority=3, parent_task_id="t0"), key="k"
    )

    body = wire.last_request.json()
    assert (body["sessionId"], body["priority"], body["parentTaskId"]) == ("s1", 3, "t0")
    assert "id" not in body
    assert "status" not in body


def test_created_task_that_cannot_be_read_is_ambiguous(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(f"{API}/tasks", status_code=201, text="")

    with pytest.raises(errors.ApiAmbiguous, match="look before sending it again"):
        client.create_task(Task(id="", session_id="s1", name="n"), key="k")


def test_subtasks_that_are_unsupported_are_not_created_either(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", json=task_body())
    wire.get(f"{API}/tasks/t1/subtasks", **SPRING_500)

    with pytest.raises(errors.ApiUnsupported):
        client.subtasks("t1")
    with pytest.raises(errors.ApiUnsupported):
        client.create_subtask("t1", Task(id="", name="n"), key="k")

    assert wire.call_count == 3


def test_subtask_of_an_unknown_parent_is_refused_by_spring(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(
        f"{API}/tasks/t1/subtasks",
        status_code=400,
        json={"error": "Invalid request", "message": "parent not found"},
    )

    with pytest.raises(errors.ApiRefused, match="parent not found"):
        client.create_subtask("t1", Task(id="", name="n"), key="k")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"json": {"input": "Alice\n"}}, "Alice\n"),
        ({"json": {"input": ""}}, ""),
        ({"json": {"input": None}}, None),
        ({"json": {}}, None),
        ({"status_code": 204}, None),
        ({"status_code": 202, "text": "later"}, None),
    ],
)
def test_input_is_the_answer_or_none(
    answer: dict[str, object],
    expected: str | None,
    client: KerutaClient,
    wire: requests_mock.Mocker,
) -> None:
    wire.get(INPUT, **answer)

    assert client.poll_input("t1") == expected


def test_input_of_a_server_that_took_the_prompt_may_be_404_for_now(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(f"{API}/tasks/t1/input-request", status_code=201)
    wire.get(INPUT, [{"status_code": 404}, {"json": {"input": "x\n"}}])

    client.request_input("t1", "Name:", key="k")

    assert client.poll_input("t1") is None
    assert client.poll_input("t1") == "x\n"


def test_input_is_unsupported_on_spring_and_remembered(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", json=task_body())
    wire.get(INPUT, **SPRING_500)

    for _ in range(2):
        with pytest.raises(errors.ApiUnsupported):
            client.poll_input("t1")
    with pytest.raises(errors.ApiUnsupported):
        client.request_input("t1", "Name:", key="k")

    assert wire.call_count == 3


def test_input_is_asked_for_under_the_same_key_until_an_answer_arrives(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    lost = {"exc": requests.ReadTimeout}
    wire.get(INPUT, [lost, lost, lost, {"json": {"input": "x\n"}}, {"status_code": 204}])

    with pytest.raises(errors.ApiUnreachable):
        client.poll_input("t1")
    assert client.poll_input("t1") == "x\n"
    client.poll_input("t1")

    keys = [request.headers["Idempotency-Key"] for request in wire.request_history]
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0]


def test_client_serves_several_threads(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    for number in range(8):
        wire.get(f"{API}/tasks/{number}", json=task_body(id=str(number)))
    found: list[str] = []

    def read(number: int) -> None:
        found.extend(client.task(str(number)).id for _ in range(5))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == sorted(str(number) for number in range(8) for _ in range(5))
