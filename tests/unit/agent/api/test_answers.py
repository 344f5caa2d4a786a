"""What the client makes of the answers of any server: errors, messages, values."""

from __future__ import annotations

import pytest
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import LogEntry, LogLevel
from tests.helpers.keruta_wire import API, TaskBody


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.ApiRefused),
        (401, errors.ApiUnauthorized),
        (403, errors.ApiUnauthorized),
        (404, errors.ApiNotFound),
        (409, errors.ApiConflict),
        (422, errors.ApiRefused),
        (500, errors.ApiFailed),
        (507, errors.ApiFailed),
    ],
)
def test_error_kind_follows_the_status(
    status: int, expected: type[errors.ApiError], client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/sessions/s1", status_code=status)

    with pytest.raises(errors.ApiError) as caught:
        client.session("s1")

    assert type(caught.value) is expected
    assert caught.value.status == status
    assert str(status) in str(caught.value)
    assert "session s1" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            '{"error":{"code":"INTERNAL_SERVER_ERROR","message":"boom","status":500},"meta":{}}',
            "INTERNAL_SERVER_ERROR: boom",
        ),
        (
            '{"error":"Invalid request","message":"name or title is required"}',
            "Invalid request: name or title is required",
        ),
        ("", "answered 400"),
        ("[]", "answered 400"),
        (
            '{"error":{"code":"INVALID_LOG_FORMAT","message":"bad","details":{"a":1}}}',
            "INVALID_LOG_FORMAT: bad",
        ),
        ('{"timestamp":1,"status":404,"error":"Not Found","path":"/x"}', "Not Found"),
        ("<html><body>Bad Gateway</body></html>", "HTML instead of JSON"),
        ('{"error":null,"message":["x"]}', "answered 400"),
        ("\x00\x01 not json", "answered 400"),
    ],
)
def test_error_message_understands_every_shape_of_body(
    body: str, words: str, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", status_code=400, text=body)

    with pytest.raises(errors.ApiRefused) as caught:
        client.task("t1")

    assert words in str(caught.value)
    assert "<" not in str(caught.value)


def test_error_message_is_one_short_line(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/tasks/t1", status_code=500, json={"message": "long\nlines\x1b[31m " * 500})

    with pytest.raises(errors.ApiFailed) as caught:
        client.task("t1")

    message = str(caught.value)
    assert len(message) < 400
    assert message.isprintable()


def test_error_message_hides_a_token_that_the_server_repeats(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", status_code=401, json={"error": "bad token s3cret-token"})

    with pytest.raises(errors.ApiUnauthorized) as caught:
        client.task("t1")

    assert "s3cret-token" not in str(caught.value)
    assert "KERUTA_API_TOKEN" in str(caught.value)


def test_web_page_as_404_is_no_missing_task(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", status_code=404, text="<!DOCTYPE html><p>nothing here")

    with pytest.raises(errors.ApiFailed, match="is KERUTA_API_URL the API"):
        client.task("t1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!doctype html><title>Welcome</title>", "HTML instead of JSON"),
        ("hello", "not JSON"),
        ("", "nothing where JSON was expected"),
        ('"text"', "is not a task"),
        ("{}", "is not a task"),
    ],
)
def test_success_that_is_no_task_is_a_failure_that_says_so(
    text: str, words: str, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", text=text)

    with pytest.raises(errors.ApiFailed, match=words):
        client.task("t1")


def test_write_that_is_answered_with_broken_json_may_have_been_stored(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(
        f"{API}/tasks/t1/logs",
        text='{"stored": [1',
        headers={"Content-Type": "application/json"},
    )

    with pytest.raises(errors.ApiAmbiguous, match="not JSON"):
        client.send_logs("t1", [LogEntry(level=LogLevel.INFO, message="m")], key="k")


@pytest.mark.parametrize(
    ("text", "content_type"), [("", "application/json"), ("null", "application/json"), ("ok", "")]
)
def test_write_that_is_answered_without_a_word_is_stored(
    client: KerutaClient, wire: requests_mock.Mocker, text: str, content_type: str
) -> None:
    wire.post(f"{API}/tasks/t1/logs", text=text, headers={"Content-Type": content_type})

    assert client.send_logs("t1", [LogEntry(level=LogLevel.INFO, message="m")], key="k") == 1


def test_success_in_an_envelope_is_unwrapped(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", json={"data": task_body(), "meta": {"version": "1.0.0"}})

    assert client.task("t1").name == "Build"
