"""Questions of scripts and people's answers over the API."""

from __future__ import annotations

import pytest

from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller


@pytest.fixture
def waiting(api: ApiCaller) -> str:
    """A task that asks for a name."""
    task: str = api.task()["id"]
    api.move(task, "PROCESSING", "WAITING_FOR_INPUT")
    api.send("POST", f"/tasks/{task}/input-request", {"prompt": "名前は?"}, status=201)
    return task


@pytest.mark.parametrize("text", ["Alice", "Alice\n"])
def test_input_is_delivered_once_with_its_line_end(api: ApiCaller, waiting: str, text: str) -> None:
    assert api.call("GET", f"/tasks/{waiting}/input").status_code == 204
    api.send("POST", f"/tasks/{waiting}/input", {"input": text})
    assert api.get(f"/tasks/{waiting}/input") == {"input": "Alice\n"}
    assert api.call("GET", f"/tasks/{waiting}/input").status_code == 204


def test_input_is_not_lost_to_a_head_request(api: ApiCaller, waiting: str) -> None:
    api.send("POST", f"/tasks/{waiting}/input", {"input": "Alice"})
    assert api.call("HEAD", f"/tasks/{waiting}/input").status_code == 200
    assert api.get(f"/tasks/{waiting}/input") == {"input": "Alice\n"}


def test_input_of_the_next_question_is_delivered_too(api: ApiCaller, waiting: str) -> None:
    api.send("POST", f"/tasks/{waiting}/input", {"input": "a"})
    api.get(f"/tasks/{waiting}/input")
    api.send("POST", f"/tasks/{waiting}/input-request", {"prompt": "again"}, status=201)
    assert api.call("GET", f"/tasks/{waiting}/input").status_code == 204
    api.send("POST", f"/tasks/{waiting}/input", {"input": "b"})
    assert api.get(f"/tasks/{waiting}/input") == {"input": "b\n"}


def test_input_question_can_be_read_by_whoever_answers(api: ApiCaller, waiting: str) -> None:
    question = api.get(f"/tasks/{waiting}/input-request")
    assert (question["prompt"], question["answered"]) == ("名前は?", False)
    api.send("POST", f"/tasks/{waiting}/input", {"input": ""})
    assert api.get(f"/tasks/{waiting}/input-request")["answered"] is True


def test_input_is_refused_when_nothing_is_asked(api: ApiCaller, waiting: str) -> None:
    quiet = api.task()["id"]
    assert api.call("GET", f"/tasks/{quiet}/input").status_code == 204
    assert api.call("GET", f"/tasks/{quiet}/input-request").status_code == 204
    error = api.error("POST", f"/tasks/{quiet}/input", {"input": "x"}, 409)
    assert (error["code"], error["field"]) == ("NO_OPEN_PROMPT", "input")
    api.send("POST", f"/tasks/{waiting}/input", {"input": "x"})
    api.error("POST", f"/tasks/{waiting}/input", {"input": "y"}, 409)


def test_input_is_refused_when_the_task_has_ended(api: ApiCaller, waiting: str) -> None:
    api.move(waiting, "CANCELLED")
    assert api.error("POST", f"/tasks/{waiting}/input", {"input": "x"}, 409)["code"] == (
        "TASK_ENDED"
    )
    api.error("POST", f"/tasks/{waiting}/input-request", {"prompt": "x"}, 409)


def test_input_without_text_is_refused(api: ApiCaller, waiting: str) -> None:
    assert api.error("POST", f"/tasks/{waiting}/input", {"input": 5}, 400)["field"] == "input"
    assert api.error("POST", f"/tasks/{waiting}/input", {}, 400)["field"] == "input"


def test_input_of_unknown_task_is_missing(api: ApiCaller) -> None:
    for method, path, body in (
        ("GET", "input", None),
        ("POST", "input", {"input": "x"}),
        ("POST", "input-request", {"prompt": "x"}),
    ):
        assert api.error(method, f"/tasks/unknown/{path}", body, 404)["code"] == "TASK_NOT_FOUND"


def test_input_question_is_over_when_the_task_goes_on(api: ApiCaller, waiting: str) -> None:
    assert api.get(f"/tasks/{waiting}/input-request")["open"] is True
    api.move(waiting, "PROCESSING")

    assert api.get(f"/tasks/{waiting}/input-request")["open"] is False
    error = api.error("POST", f"/tasks/{waiting}/input", {"input": "late"}, 409)
    assert error["code"] == "NO_OPEN_PROMPT"


def test_input_that_is_secret_is_handed_out_and_never_stored(
    api: ApiCaller, waiting: str, store: Store
) -> None:
    body = {"prompt": "Password:", "secret": True}
    asked = api.send("POST", f"/tasks/{waiting}/input-request", body, status=201)
    assert asked["secret"] is True
    answered = api.send("POST", f"/tasks/{waiting}/input", {"input": "hunter2-geheim"})
    assert answered["answered"] is True

    found = api.get(f"/tasks/{waiting}/input?requestId={asked['id']}")
    assert found == {"input": "hunter2-geheim\n"}
    api.move(waiting, "PROCESSING")
    assert api.call("GET", f"/tasks/{waiting}/input?requestId={asked['id']}").status_code == 204
    for file in store.directory.path.rglob("*"):
        if file.is_file():
            assert b"hunter2" not in file.read_bytes(), file
