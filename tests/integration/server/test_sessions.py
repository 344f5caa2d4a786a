"""Sessions over the API."""

from __future__ import annotations

import uuid

import pytest

from tests.helpers.api_caller import ApiCaller


def test_session_keeps_everything_it_was_created_with(api: ApiCaller) -> None:
    draft = {
        "name": "名前 with spaces",
        "description": "text",
        "tags": ["a", "b"],
        "workspaceId": "ws-1",
        "repositoryUrl": "https://example.test/o/r.git",
        "repositoryRef": "main",
        "templateConfig": {"templatePath": ".", "parameters": {"a": "b"}},
    }
    created = api.session(**draft)
    assert draft.items() <= created.items()
    assert created["status"] == "ACTIVE"
    assert api.get(f"/sessions/{created['id']}") == created


def test_session_dates_are_iso_with_zone(api: ApiCaller) -> None:
    assert api.session()["createdAt"].endswith("Z")


def test_session_keeps_the_id_that_its_creator_chose(api: ApiCaller) -> None:
    chosen = str(uuid.uuid4())
    assert api.session(id=chosen)["id"] == chosen
    assert api.error("POST", "/sessions", {"name": "x", "id": chosen}, 409)["field"] == "id"


@pytest.mark.parametrize("bad", ["../x", "a/b", "", "x" * 300, "line\n", "ü"])
def test_session_id_that_does_not_fit_a_path_is_refused(api: ApiCaller, bad: str) -> None:
    assert api.error("POST", "/sessions", {"name": "x", "id": bad}, 400)["field"] == "id"


def test_session_without_name_is_refused(api: ApiCaller) -> None:
    assert api.error("POST", "/sessions", {"description": "x"}, 400)["field"] == "name"


def test_sessions_are_listed_newest_first(api: ApiCaller) -> None:
    first, second = api.session()["id"], api.session()["id"]
    ids = [session["id"] for session in api.get("/sessions")]
    assert ids.index(second) < ids.index(first)


def test_session_search_finds_part_of_the_name_in_any_case(api: ApiCaller) -> None:
    mark = uuid.uuid4().hex
    wanted = api.session(name=f"Straße-{mark}-NAME")["id"]
    api.session(name=f"other-{uuid.uuid4().hex}")
    found = api.get(f"/sessions/search?name=STRASSE-{mark.upper()}-n")
    assert [session["id"] for session in found] == [wanted]


@pytest.mark.parametrize("pattern", ["%", "_", "%25%25"])
def test_session_search_takes_wildcards_as_they_are(api: ApiCaller, pattern: str) -> None:
    api.session(name="no wildcard here")
    assert api.get("/sessions/search", query={"name": pattern}) == []


def test_session_search_by_partial_id_finds_the_beginning_in_any_case(api: ApiCaller) -> None:
    session = api.session()["id"]
    found = api.get(f"/sessions/search/partial-id?partialId={session[:13].upper()}")
    assert [entry["id"] for entry in found] == [session]
    assert api.get(f"/sessions/search/partial-id?partialId={session[4:20]}") == []


@pytest.mark.parametrize("query", ["?partialId=abc", "?partialId=", ""])
def test_session_search_by_too_short_partial_id_is_refused(api: ApiCaller, query: str) -> None:
    response = api.call("GET", f"/sessions/search/partial-id{query}")
    assert response.status_code == 400
    assert response.json()["error"]["field"] == "partialId"


def test_session_of_a_workspace_is_the_newest_that_has_not_ended(api: ApiCaller) -> None:
    workspace = uuid.uuid4().hex
    running = api.session(workspaceId=workspace)["id"]
    ended = api.session(workspaceId=workspace)["id"]
    api.send("PUT", f"/sessions/{ended}/status", {"status": "completed"})
    assert api.get(f"/sessions/by-workspace/{workspace}")["id"] == running


def test_session_of_unknown_workspace_is_missing(api: ApiCaller) -> None:
    assert api.error("GET", "/sessions/by-workspace/nobody", None, 404)["code"] == (
        "SESSION_NOT_FOUND"
    )


def test_session_status_is_set_by_put(api: ApiCaller) -> None:
    session = api.session()["id"]
    answer = api.send("PUT", f"/sessions/{session}/status", {"status": "terminated"})
    assert answer["status"] == "TERMINATED"
    assert api.get(f"/sessions/{session}")["status"] == "TERMINATED"
    refused = api.error("PUT", f"/sessions/{session}/status", {"status": "nope"}, 400)
    assert refused["field"] == "status"


def test_ended_session_takes_no_more_tasks(api: ApiCaller) -> None:
    session = api.session()["id"]
    api.send("PUT", f"/sessions/{session}/status", {"status": "COMPLETED"})
    error = api.error("POST", "/tasks", {"sessionId": session, "name": "late"}, 409)
    assert error["code"] == "SESSION_ENDED"


def test_deleted_session_takes_its_tasks_with_it(api: ApiCaller) -> None:
    task = api.task()
    assert api.call("DELETE", f"/sessions/{task['sessionId']}").status_code == 204
    assert api.call("GET", f"/sessions/{task['sessionId']}").status_code == 404
    assert api.call("GET", f"/tasks/{task['id']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/tasks"), ("PUT", "/status"), ("DELETE", "")],
)
def test_unknown_session_is_told_apart_from_an_unknown_route(
    api: ApiCaller, method: str, path: str
) -> None:
    body = {"status": "ACTIVE"} if method == "PUT" else None
    error = api.error(method, f"/sessions/unknown{path}", body, 404)
    assert error["code"] == "SESSION_NOT_FOUND"
    assert api.error("GET", "/sessions/unknown/nothing", None, 404)["code"] == "ROUTE_NOT_FOUND"
