"""Tasks over the API."""

from __future__ import annotations

import uuid

import pytest

from tests.helpers.api_caller import ApiCaller


def test_task_keeps_everything_it_was_created_with(api: ApiCaller) -> None:
    draft = {
        "name": "ビルド",
        "description": "text",
        "script": "echo hi\n",
        "priority": -3,
        "parameters": {"env": {"A": "1"}, "deep": [1, {"x": None}]},
    }
    created = api.task(**draft)
    assert draft.items() <= created.items()
    assert created["title"] == "ビルド"
    assert (created["status"], created["progress"], created["errorCode"]) == ("PENDING", 0, "")
    assert api.get(f"/tasks/{created['id']}") == created


def test_task_accepts_the_older_names_of_its_fields(api: ApiCaller) -> None:
    session = api.session()["id"]
    task = api.send("POST", "/tasks", {"session": session, "title": "old"}, status=201)
    assert (task["name"], task["sessionId"]) == ("old", session)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": 5}, "name"),
        ({"sessionId": "unknown"}, "sessionId"),
        ({"sessionId": None}, "sessionId"),
        ({"priority": "high"}, "priority"),
        ({"priority": 10**30}, "priority"),
        ({"priority": True}, "priority"),
        ({"parameters": [1]}, "parameters"),
        ({"script": ["x"]}, "script"),
        ({"parentTaskId": "unknown"}, "parentTaskId"),
    ],
)
def test_task_with_a_wrong_field_is_refused_naming_it(
    api: ApiCaller, change: dict[str, object], field: str
) -> None:
    draft = {"name": "t", "sessionId": api.session()["id"]} | change
    assert api.error("POST", "/tasks", draft, 400)["field"] == field


def test_task_without_session_takes_that_of_its_parent(api: ApiCaller) -> None:
    parent = api.task()
    child = api.send("POST", "/tasks", {"name": "c", "parentTaskId": parent["id"]}, status=201)
    assert child["sessionId"] == parent["sessionId"]
    assert child["parentTaskId"] == parent["id"]


def test_task_is_not_filed_under_a_parent_of_another_session(api: ApiCaller) -> None:
    draft = {"name": "c", "parentTaskId": api.task()["id"], "sessionId": api.session()["id"]}
    assert api.error("POST", "/tasks", draft, 400)["field"] == "parentTaskId"


def test_tasks_of_a_session_are_listed_newest_first_and_by_status(api: ApiCaller) -> None:
    session = api.session()["id"]
    ids = [api.task(sessionId=session)["id"] for _ in range(3)]
    api.move(ids[1], "PROCESSING")
    listed = [task["id"] for task in api.get(f"/sessions/{session}/tasks")]
    assert listed == ids[::-1]
    for path in (
        f"/sessions/{session}/tasks?status=pending",
        f"/tasks/session/{session}?status=PENDING",
        f"/tasks/session/{session}/pending",
    ):
        assert [task["id"] for task in api.get(path)] == [ids[2], ids[0]]
    running = api.get(f"/sessions/{session}/tasks?status=IN_PROGRESS")
    assert [task["id"] for task in running] == [ids[1]]


@pytest.mark.parametrize("path", ["/sessions/{}/tasks", "/tasks/session/{}", "/tasks"])
def test_task_listing_refuses_an_unknown_status(api: ApiCaller, path: str) -> None:
    path = path.format(api.session()["id"])
    assert api.error("GET", f"{path}?status=nope", None, 400)["field"] == "status"


def test_all_tasks_are_listed(api: ApiCaller) -> None:
    wanted = {api.task()["id"], api.task()["id"]}
    assert wanted <= {task["id"] for task in api.get("/tasks")}


def test_task_is_changed_by_put(api: ApiCaller) -> None:
    task = api.task(description="stays")
    change = {"name": "new", "script": "echo", "priority": 7, "parameters": {"a": 1}}
    changed = api.send("PUT", f"/tasks/{task['id']}", change)
    assert changed["description"] == "stays"
    assert change.items() <= changed.items()
    assert api.get(f"/tasks/{task['id']}") == changed


def test_deleted_task_is_gone_and_its_subtasks_stay(api: ApiCaller) -> None:
    task = api.task()
    child = api.send("POST", f"/tasks/{task['id']}/subtasks", {"name": "c"}, status=201)
    assert api.call("DELETE", f"/tasks/{task['id']}").status_code == 204
    assert api.error("GET", f"/tasks/{task['id']}", None, 404)["code"] == "TASK_NOT_FOUND"
    assert api.get(f"/tasks/{child['id']}")["parentTaskId"] is None


def test_subtasks_belong_to_the_parents_session_newest_first(api: ApiCaller) -> None:
    parent = api.task()
    ids = [
        api.send("POST", f"/tasks/{parent['id']}/subtasks", {"name": name}, status=201)["id"]
        for name in "ab"
    ]
    listed = api.get(f"/tasks/{parent['id']}/subtasks")
    assert [task["id"] for task in listed] == ids[::-1]
    assert {task["sessionId"] for task in listed} == {parent["sessionId"]}


def test_subtask_of_an_unknown_task_is_refused(api: ApiCaller) -> None:
    assert api.error("POST", "/tasks/unknown/subtasks", {"name": "c"}, 404)["code"] == (
        "TASK_NOT_FOUND"
    )
    parent = api.task()["id"]
    assert api.error("POST", f"/tasks/{parent}/subtasks", {}, 400)["field"] == "name"


def test_script_has_the_shape_of_the_contract(api: ApiCaller) -> None:
    task = api.task(script="echo hi\n", parameters={"env": {"A": "1"}})
    assert api.get(f"/tasks/{task['id']}/script") == {
        "success": True,
        "taskId": task["id"],
        "script": {
            "content": "echo hi\n",
            "language": "bash",
            "filename": "task.sh",
            "parameters": {"env": {"A": "1"}},
        },
    }


def test_workspace_lists_pending_tasks_of_sessions_that_have_not_ended(api: ApiCaller) -> None:
    workspace = uuid.uuid4().hex
    session, ended = (api.session(workspaceId=workspace)["id"] for _ in range(2))
    first, second = (api.task(sessionId=session)["id"] for _ in range(2))
    api.task(sessionId=ended)
    api.move(api.task(sessionId=session)["id"], "PROCESSING")
    api.send("PUT", f"/sessions/{ended}/status", {"status": "ARCHIVED"})
    listed = api.get(f"/workspaces/{workspace}/tasks/pending")
    assert [task["id"] for task in listed] == [second, first]
    assert api.get("/workspaces/unknown/tasks/pending") == []
