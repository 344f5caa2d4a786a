"""States and progress of tasks over the API."""

from __future__ import annotations

import itertools

import pytest

from keruta_agent.core.model import TASK_MOVES, TaskStatus
from tests.helpers.api_caller import ApiCaller

#: How to get a task into each state.
WAYS: dict[TaskStatus, tuple[str, ...]] = {
    TaskStatus.PENDING: (),
    TaskStatus.PROCESSING: ("PROCESSING",),
    TaskStatus.WAITING_FOR_INPUT: ("PROCESSING", "WAITING_FOR_INPUT"),
    TaskStatus.RETRYING: ("PROCESSING", "RETRYING"),
    TaskStatus.COMPLETED: ("PROCESSING", "COMPLETED"),
    TaskStatus.FAILED: ("PROCESSING", "FAILED"),
    TaskStatus.CANCELLED: ("CANCELLED",),
}


@pytest.mark.parametrize(("current", "asked"), list(itertools.product(TaskStatus, repeat=2)))
def test_status_moves_as_the_table_says(
    api: ApiCaller, current: TaskStatus, asked: TaskStatus
) -> None:
    task = api.task()["id"]
    if WAYS[current]:
        api.move(task, *WAYS[current])
    response = api.call("PUT", f"/tasks/{task}/status", json={"status": asked.value})
    if asked is current or asked in TASK_MOVES[current]:
        assert (response.status_code, response.json()["status"]) == (200, asked)
    else:
        error = response.json()["error"]
        assert response.status_code == 409
        assert (error["field"], error["current"], error["asked"]) == ("status", current, asked)
        assert api.get(f"/tasks/{task}")["status"] == current


@pytest.mark.parametrize("name", ["IN_PROGRESS", "in_progress", "Processing", "RUNNING"])
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_status_accepts_all_names_of_running(api: ApiCaller, method: str, name: str) -> None:
    task = api.task()["id"]
    answer = api.send(method, f"/tasks/{task}/status", {"status": name})
    assert answer["status"] == "PROCESSING"


def test_status_keeps_what_is_left_out(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "PROCESSING", message="half", progress=50)
    failed = api.move(task, "FAILED", errorCode="E1")
    assert (failed["message"], failed["progress"], failed["errorCode"]) == ("half", 50, "E1")


def test_status_completed_means_all_is_done(api: ApiCaller) -> None:
    first, second = api.task()["id"], api.task()["id"]
    assert api.move(first, "PROCESSING", "COMPLETED")["progress"] == 100
    assert api.move(second, "PROCESSING", "COMPLETED", progress=90)["progress"] == 90


def test_status_repeated_while_running_updates_message_and_progress(api: ApiCaller) -> None:
    task = api.task()["id"]
    again = api.move(task, "PROCESSING", "PROCESSING", message="m", progress=5)
    assert (again["message"], again["progress"]) == ("m", 5)


def test_status_of_an_ended_task_stands_when_it_is_repeated(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "PROCESSING", "FAILED", message="first", errorCode="E1")
    again = api.move(task, "FAILED", message="second", errorCode="E2")
    assert (again["message"], again["errorCode"]) == ("first", "E1")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "status"),
        ({"status": None}, "status"),
        ({"status": "nope"}, "status"),
        ({"status": 5}, "status"),
        ({"status": "PROCESSING", "progress": 101}, "progress"),
        ({"status": "PROCESSING", "progress": -1}, "progress"),
        ({"status": "PROCESSING", "progress": "half"}, "progress"),
        ({"status": "PROCESSING", "message": {}}, "message"),
        ({"status": "PROCESSING", "errorCode": 5}, "errorCode"),
    ],
)
def test_status_with_a_wrong_field_is_refused_naming_it(
    api: ApiCaller, body: dict[str, object], field: str
) -> None:
    task = api.task()["id"]
    assert api.error("PUT", f"/tasks/{task}/status", body, 400)["field"] == field
    assert api.get(f"/tasks/{task}")["status"] == "PENDING"


def test_status_message_that_no_database_stores_is_repaired(api: ApiCaller) -> None:
    task = api.task()["id"]
    moved = api.move(task, "FAILED", message="a\0b\ud800c 日本語")
    assert moved["message"] == "a\ufffdb\ufffdc 日本語"


def test_status_of_unknown_task_is_missing(api: ApiCaller) -> None:
    error = api.error("PUT", "/tasks/unknown/status", {"status": "FAILED"}, 404)
    assert error["code"] == "TASK_NOT_FOUND"


def test_progress_is_set_and_keeps_the_message(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "PROCESSING")
    api.send("PATCH", f"/tasks/{task}/progress", {"progress": 30, "message": "third"})
    answer = api.send("PATCH", f"/tasks/{task}/progress", {"progress": 40})
    assert (answer["progress"], answer["message"], answer["status"]) == (40, "third", "PROCESSING")


def test_progress_of_an_ended_task_is_final(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "PROCESSING", "COMPLETED")
    error = api.error("PATCH", f"/tasks/{task}/progress", {"progress": 40}, 409)
    assert error["current"] == "COMPLETED"
    assert api.get(f"/tasks/{task}")["progress"] == 100


@pytest.mark.parametrize("value", [None, -1, 101, 1.5, "x", True, 10**400])
def test_progress_out_of_range_is_refused(api: ApiCaller, value: object) -> None:
    task = api.task()["id"]
    assert api.error("PATCH", f"/tasks/{task}/progress", {"progress": value}, 400)["field"] == (
        "progress"
    )
