"""Auto-fix tasks over the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from keruta_agent.core.model import failure_fingerprint
from tests.helpers.api_caller import ApiCaller, Json
from tests.helpers.embedded_server import embedded_server

FAILURE = {"errorMessage": "boom 失敗", "errorCode": "E1"}


def _failed(api: ApiCaller, **values: Any) -> Json:
    task = api.task(**values)
    return api.move(task["id"], "PROCESSING", "FAILED")


def _fix(api: ApiCaller, task_id: str, status: int = 201, *, message: str | None = None) -> Json:
    failure = FAILURE if message is None else {**FAILURE, "errorMessage": message}
    answer: Json = api.send("POST", f"/tasks/{task_id}/auto-fix", failure, status=status)
    return answer


def test_auto_fix_task_is_made_from_the_failed_one(api: ApiCaller) -> None:
    failed = _failed(
        api,
        name="build",
        description="what",
        script="make\n",
        priority=4,
        parameters={"env": {"A": "1"}},
    )
    fix = _fix(api, failed["id"])
    assert fix["name"] == "[自動修正] build"
    assert fix["description"].startswith("what\n")
    assert "boom 失敗" in fix["description"]
    assert (fix["status"], fix["priority"], fix["script"]) == ("PENDING", 4, "make\n")
    assert (fix["parentTaskId"], fix["sessionId"]) == (failed["id"], failed["sessionId"])
    assert fix["parameters"] == {
        "env": {"A": "1"},
        "autoFix": True,
        "fixCount": 1,
        "originalTaskId": failed["id"],
        "errorCode": "E1",
        "failure": failure_fingerprint("E1", "boom 失敗"),
    }


def test_auto_fix_that_failed_just_as_the_task_before_is_not_tried_once_more(
    api: ApiCaller,
) -> None:
    fix = _fix(api, _failed(api)["id"], message="no such file /tmp/a1 at line 7")
    api.move(fix["id"], "PROCESSING", "FAILED")
    answer = _fix(api, fix["id"], status=200, message="no such file /tmp/b2 at line 9")
    assert answer["created"] is False
    assert "just as" in answer["reason"]


def test_auto_fix_of_a_fix_remembers_the_first_task_and_ends_at_the_limit(
    api: ApiCaller,
) -> None:
    root = _failed(api, name="build")["id"]
    last = root
    for count in (1, 2, 3):
        fix = _fix(api, last, message="failure " + "x" * count)
        assert fix["name"] == "[自動修正] build"
        assert (fix["parameters"]["fixCount"], fix["parameters"]["originalTaskId"]) == (count, root)
        last = api.move(fix["id"], "PROCESSING", "FAILED")["id"]
    answer = _fix(api, last, status=200)
    assert answer["created"] is False
    assert "limit" in answer["reason"]
    assert api.get(f"/tasks/{last}/subtasks") == []


def test_auto_fix_of_one_task_ends_at_the_limit(api: ApiCaller) -> None:
    root = _failed(api)["id"]
    for _ in range(3):
        _fix(api, root)
    answer = _fix(api, root, status=200)
    assert answer["created"] is False
    assert len(api.get(f"/tasks/{root}/subtasks")) == 3


def test_auto_fix_limit_counts_fixes_that_clients_filed_themselves(api: ApiCaller) -> None:
    root = _failed(api)["id"]
    for _ in range(3):
        draft = {
            "name": "fix",
            "script": "true",
            "parameters": {"autoFix": True, "fixCount": 1, "originalTaskId": root},
        }
        api.send("POST", f"/tasks/{root}/subtasks", draft, status=201)
    assert _fix(api, root, status=200)["created"] is False


@pytest.mark.parametrize("ways", [(), ("PROCESSING", "COMPLETED"), ("CANCELLED",)])
def test_auto_fix_is_for_failed_tasks_only(api: ApiCaller, ways: tuple[str, ...]) -> None:
    task = api.task()["id"]
    if ways:
        api.move(task, *ways)
    error = api.error("POST", f"/tasks/{task}/auto-fix", FAILURE, 409)
    assert (error["code"], error["field"]) == ("NOT_FAILED", "status")


def test_auto_fix_of_a_task_without_script_is_not_made(api: ApiCaller) -> None:
    assert _fix(api, _failed(api, script=" \n")["id"], status=200)["created"] is False


def test_auto_fix_in_an_ended_session_is_not_made(api: ApiCaller) -> None:
    failed = _failed(api)
    api.send("PUT", f"/sessions/{failed['sessionId']}/status", {"status": "COMPLETED"})
    answer = _fix(api, failed["id"], status=200)
    assert (answer["created"], "COMPLETED" in answer["reason"]) == (False, True)


@pytest.mark.parametrize("count", ["2", -5, None, 1.5, True])
def test_auto_fix_takes_a_count_that_makes_no_sense_for_none(api: ApiCaller, count: object) -> None:
    fix = _fix(api, _failed(api, parameters={"fixCount": count})["id"])
    assert fix["parameters"]["fixCount"] == 1


def test_auto_fix_of_unknown_task_is_missing(api: ApiCaller) -> None:
    assert api.error("POST", "/tasks/unknown/auto-fix", FAILURE, 404)["code"] == "TASK_NOT_FOUND"


def _fixes(api: ApiCaller, task_id: str) -> list[Json]:
    found: list[Json] = api.get(f"/tasks/{task_id}/subtasks")
    return found


@pytest.mark.parametrize("ways", [("PROCESSING",), ("PROCESSING", "WAITING_FOR_INPUT")])
def test_fix_that_is_asked_for_while_the_task_runs_is_made_once_when_it_fails(
    api: ApiCaller, ways: tuple[str, ...]
) -> None:
    task = api.task(name="build")["id"]
    api.move(task, *ways)

    for _ in range(2):  # the last word counts, and one fix is made
        assert _fix(api, task, status=200)["created"] is False
    assert _fixes(api, task) == []
    api.move(task, "FAILED", "FAILED")

    (fix,) = _fixes(api, task)
    assert fix["name"] == "[自動修正] build"
    assert fix["parameters"]["errorCode"] == "E1"
    answer = _fix(api, task, status=200)
    assert (answer["created"], len(_fixes(api, task))) == (False, 1)


@pytest.mark.parametrize("end", ["COMPLETED", "CANCELLED"])
def test_fix_that_is_asked_for_while_the_task_runs_is_not_made_when_it_ends_otherwise(
    api: ApiCaller, end: str
) -> None:
    task = api.task()["id"]
    api.move(task, "PROCESSING")
    _fix(api, task, status=200)
    api.move(task, end)

    assert _fixes(api, task) == []


def test_fix_is_made_although_the_server_was_restarted_before_the_task_failed(
    tmp_path: Path,
) -> None:
    with embedded_server(tmp_path) as server:
        task_id = _filed(server.url)
        _send(server.url, "PUT", f"/tasks/{task_id}/status", {"status": "PROCESSING"})
        _send(server.url, "POST", f"/tasks/{task_id}/auto-fix", FAILURE)
    with embedded_server(tmp_path) as server:
        _send(server.url, "PUT", f"/tasks/{task_id}/status", {"status": "FAILED"})
        fixes = _send(server.url, "GET", f"/tasks/{task_id}/subtasks")

    assert [fix["parameters"]["originalTaskId"] for fix in fixes] == [task_id]


def _filed(url: str) -> str:
    session = _send(url, "POST", "/sessions", {"name": "restarted"})
    task = {"sessionId": session["id"], "name": "build", "script": "make"}
    return str(_send(url, "POST", "/tasks", task)["id"])


def _send(url: str, method: str, path: str, body: Json | None = None) -> Any:
    answer = requests.request(method, f"{url}/api/v1{path}", json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()
