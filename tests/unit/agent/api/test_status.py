"""Writing a task's state in the words of each server, once."""

from __future__ import annotations

import pytest
import requests
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import StatusReport, TaskStatus
from tests.helpers.keruta_wire import API, SPRING_500, Sent, TaskBody

STATUS = f"{API}/tasks/t1/status"
RUNNING = StatusReport(status=TaskStatus.PROCESSING, message="started")


def _names(wire: requests_mock.Mocker) -> list[str]:
    return [r.json()["status"] for r in wire.request_history if r.method == "PUT"]


def test_status_write_sends_all_four_fields(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.put(STATUS, json=task_body(status="FAILED"))

    report = StatusReport(status=TaskStatus.FAILED, error_code="E1")
    client.write_status("t1", report, key="key-1")

    assert wire.last_request.json() == {
        "status": "FAILED",
        "message": "",
        "progress": 0,
        "errorCode": "E1",
    }
    assert wire.last_request.headers["Idempotency-Key"] == "key-1"


def test_status_write_sends_the_word_of_the_specification_first(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.put(STATUS, json=task_body(status="PROCESSING"))

    task = client.write_status("t1", RUNNING, key="k")

    assert task.status is TaskStatus.PROCESSING
    assert _names(wire) == ["PROCESSING"]


@pytest.mark.parametrize(
    "refusal",
    [
        {"status_code": 400},
        {"status_code": 422},
        {"status_code": 400, "json": {"error": {"code": "MALFORMED_REQUEST", "status": 400}}},
    ],
)
def test_status_write_uses_the_other_word_when_the_first_is_refused(
    refusal: dict[str, object],
    client: KerutaClient,
    wire: requests_mock.Mocker,
    task_body: TaskBody,
) -> None:
    wire.put(STATUS, [refusal, {"json": task_body(status="IN_PROGRESS")}])

    task = client.write_status("t1", RUNNING, key="k")

    assert task.status is TaskStatus.PROCESSING
    assert _names(wire) == ["PROCESSING", "IN_PROGRESS"]
    keys = [request.headers["Idempotency-Key"] for request in wire.request_history]
    assert len(set(keys)) == 2


def test_status_write_remembers_the_word_that_the_server_takes(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    running = {"json": task_body(status="IN_PROGRESS")}
    wire.put(STATUS, [{"status_code": 400}, running, running])

    client.write_status("t1", RUNNING, key="k1")
    client.write_status("t1", RUNNING, key="k2")

    assert _names(wire) == ["PROCESSING", "IN_PROGRESS", "IN_PROGRESS"]


def test_status_write_on_spring_looks_before_using_the_other_word(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    wire.put(STATUS, [SPRING_500, {"json": task_body(status="IN_PROGRESS")}])
    wire.get(f"{API}/tasks/t1", json=task_body(status="PENDING"))

    task = client.write_status("t1", RUNNING, key="k")

    assert task.status is TaskStatus.PROCESSING
    assert [method for method, _ in sent()] == ["PUT", "GET", "PUT"]
    assert _names(wire) == ["PROCESSING", "IN_PROGRESS"]


@pytest.mark.parametrize("held", ["IN_PROGRESS", "CANCELLED", "COMPLETED"])
def test_status_write_is_not_repeated_when_the_server_holds_another_state_after_a_500(
    held: str, client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.put(STATUS, **SPRING_500)
    wire.get(f"{API}/tasks/t1", json=task_body(status=held))

    task = client.write_status("t1", RUNNING, key="k")

    assert task.status.value == held.replace("IN_PROGRESS", "PROCESSING")
    assert _names(wire) == ["PROCESSING"]


def test_status_write_is_unclear_when_the_task_cannot_be_read_after_a_500(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, **SPRING_500)
    wire.get(f"{API}/tasks/t1", status_code=503)

    with pytest.raises(errors.ApiAmbiguous, match="Look at the task"):
        client.write_status("t1", RUNNING, key="k")

    assert _names(wire) == ["PROCESSING"]


def test_status_write_of_a_deleted_task_is_not_found_after_a_500(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, **SPRING_500)
    wire.get(f"{API}/tasks/t1", status_code=404)

    with pytest.raises(errors.ApiNotFound):
        client.write_status("t1", RUNNING, key="k")


def test_status_500_after_a_word_was_accepted_is_a_failure(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.put(STATUS, [{"json": task_body(status="PROCESSING")}, SPRING_500])

    client.write_status("t1", RUNNING, key="k1")
    with pytest.raises(errors.ApiFailed):
        client.write_status("t1", RUNNING, key="k2")

    assert _names(wire) == ["PROCESSING", "PROCESSING"]


def test_configured_word_is_sent_first_and_a_500_does_not_change_it(
    wire: requests_mock.Mocker,
) -> None:
    wire.put(STATUS, **SPRING_500)

    with (
        KerutaClient("http://keruta.test", processing_status="in_progress") as client,
        pytest.raises(errors.ApiFailed),
    ):
        client.write_status("t1", RUNNING, key="k")

    assert _names(wire) == ["IN_PROGRESS"]


def test_configured_word_that_is_refused_gives_way_to_the_other(
    wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.put(STATUS, [{"status_code": 422}, {"json": task_body(status="PROCESSING")}])

    with KerutaClient("http://keruta.test", processing_status="IN_PROGRESS") as client:
        client.write_status("t1", RUNNING, key="k")

    assert _names(wire) == ["IN_PROGRESS", "PROCESSING"]


def test_configured_word_that_is_none_is_a_settings_error() -> None:
    with pytest.raises(errors.SettingsError, match="IN_PROGRESS"):
        KerutaClient("http://keruta.test", processing_status="BUSY")


def test_refused_terminal_state_is_not_tried_under_another_word(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=400, json={"error": "Invalid", "message": "status: no"})

    with pytest.raises(errors.ApiRefused, match="status: no"):
        client.write_status("t1", StatusReport(status=TaskStatus.CANCELLED), key="k")

    assert _names(wire) == ["CANCELLED"]


def test_illegal_move_is_a_conflict_under_either_word(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, status_code=409)

    with pytest.raises(errors.ApiConflict):
        client.write_status("t1", RUNNING, key="k")

    assert _names(wire) == ["PROCESSING"]


def test_ambiguous_running_write_is_not_repeated(
    client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.put(STATUS, exc=requests.ReadTimeout)

    with pytest.raises(errors.ApiAmbiguous):
        client.write_status("t1", RUNNING, key="k")

    assert sent() == [("PUT", "/tasks/t1/status")]


def test_failed_lock_is_returned_as_the_task(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    body = task_body(status="FAILED", errorCode="LOCK_ACQUISITION_FAILED")
    wire.put(STATUS, json=body)

    task = client.write_status("t1", RUNNING, key="k")

    assert task.status is TaskStatus.FAILED
    assert task.error_code == "LOCK_ACQUISITION_FAILED"


@pytest.mark.parametrize("body", ["", "accepted", "{}", "<html></html>"])
def test_answer_without_a_task_is_completed_by_reading_the_task(
    body: str, client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    wire.put(STATUS, text=body)
    wire.get(f"{API}/tasks/t1", json=task_body(status="COMPLETED"))

    task = client.write_status("t1", StatusReport(status=TaskStatus.COMPLETED), key="k")

    assert task.status is TaskStatus.COMPLETED
    assert [method for method, _ in sent()] == ["PUT", "GET"]


def test_answer_without_a_task_is_ambiguous_when_the_task_cannot_be_read(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(STATUS, text="<html>log in</html>")
    wire.get(f"{API}/tasks/t1", text="<html>log in</html>")

    with pytest.raises(errors.ApiAmbiguous, match="is KERUTA_API_URL the API"):
        client.write_status("t1", StatusReport(status=TaskStatus.COMPLETED), key="k")
