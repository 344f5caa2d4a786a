"""Authentication, redirects, tries and errors below every call of the client."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests
import requests_mock
import urllib3.exceptions

import keruta_agent
from keruta_agent import errors
from keruta_agent.clients.http import HttpClient, segment
from keruta_agent.clients.keruta import KerutaClient
from keruta_agent.model import LogEntry, LogLevel, StatusReport, TaskStatus
from tests.helpers.keruta_wire import API, Sent, TaskBody

REPORT = StatusReport(status=TaskStatus.COMPLETED, progress=100)


def test_request_carries_token_and_names_the_agent(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", json=task_body())

    client.task("t1")

    headers = wire.last_request.headers
    assert headers["Authorization"] == "Bearer s3cret-token"
    assert headers["Accept"] == "application/json"
    assert headers["User-Agent"] == f"keruta-agent/{keruta_agent.__version__}"
    assert "Content-Type" not in headers


def test_request_without_token_carries_no_authorization(wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/health", json={"status": "UP"})

    with KerutaClient("http://keruta.test") as client:
        client.health()

    assert "Authorization" not in wire.last_request.headers


def test_request_uses_credentials_of_the_url_without_a_token(wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/health", json={"status": "UP"})

    with KerutaClient("http://user:word@keruta.test/api/v1") as client:
        client.health()

    assert wire.last_request.headers["Authorization"] == "Basic dXNlcjp3b3Jk"


@pytest.mark.parametrize("token", ["s3cret-token", None])
def test_request_ignores_netrc(
    token: str | None,
    wire: requests_mock.Mocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine keruta.test login somebody password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    wire.get(f"{API}/health", json={"status": "UP"})
    assert requests.utils.get_netrc_auth("http://keruta.test") == ("somebody", "other")

    with KerutaClient("http://keruta.test", token=token) as client:
        client.health()

    expected = f"Bearer {token}" if token else None
    assert wire.last_request.headers.get("Authorization") == expected


def test_redirect_within_the_origin_keeps_the_token(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", status_code=307, headers={"Location": "/moved"})
    wire.get("http://keruta.test/moved", json=task_body())

    assert client.task("t1").id == "t1"
    assert wire.last_request.headers["Authorization"] == "Bearer s3cret-token"


@pytest.mark.parametrize(
    "target", ["http://other.test/x", "http://keruta.test:81/x", "https://keruta.test/x"]
)
def test_redirect_to_another_origin_does_not_carry_the_token(
    target: str,
    client: KerutaClient,
    wire: requests_mock.Mocker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    wire.get(f"{API}/tasks/t1", status_code=302, headers={"Location": target})
    wire.get(target, status_code=401, json={"error": "no token"})

    with pytest.raises(errors.ApiUnauthorized, match="set KERUTA_API_URL to that address"):
        client.task("t1")

    assert "Authorization" not in wire.last_request.headers


def test_redirect_of_a_write_is_not_followed(
    client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.put(f"{API}/tasks/t1/status", status_code=302, headers={"Location": "http://o.test/"})

    with pytest.raises(errors.ApiFailed, match="redirects"):
        client.write_status("t1", REPORT, key="k")

    assert sent() == [("PUT", "/tasks/t1/status")]


def test_redirects_in_a_circle_end_with_an_error(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", status_code=302, headers={"Location": f"{API}/tasks/t1"})

    with pytest.raises(errors.ApiFailed, match="redirects without an end"):
        client.task("t1")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_read_is_tried_again_while_the_server_is_overloaded(
    status: int, client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    answers = [{"status_code": status}, {"status_code": status}, {"json": task_body()}]
    wire.get(f"{API}/tasks/t1", answers)

    assert client.task("t1").id == "t1"
    assert wire.call_count == 3


def test_read_gives_up_after_three_tries(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/tasks/t1", status_code=503)

    with pytest.raises(errors.ApiOverloaded) as caught:
        client.task("t1")

    assert caught.value.status == 503
    assert wire.call_count == 3


def test_read_is_tried_again_when_no_connection_can_be_made(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", [{"exc": requests.ConnectTimeout}, {"json": task_body()}])

    assert client.task("t1").id == "t1"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 500, 501])
def test_read_is_not_tried_again_after_a_clear_answer(
    status: int, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", status_code=status)

    with pytest.raises(errors.ApiError):
        client.task("t1")

    assert wire.call_count == 1


def test_read_waits_as_long_as_the_server_asks(
    client: KerutaClient,
    wire: requests_mock.Mocker,
    task_body: TaskBody,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("backoff._sync.time.sleep", waits.append)
    wire.get(
        f"{API}/tasks/t1",
        [{"status_code": 429, "headers": {"Retry-After": "3"}}, {"json": task_body()}],
    )

    client.task("t1")

    assert waits == [3.0]


def test_read_does_not_wait_when_the_server_asks_for_long(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", status_code=503, headers={"Retry-After": "120"})

    with pytest.raises(errors.ApiOverloaded) as caught:
        client.task("t1")

    assert caught.value.retry_after_s == 120
    assert wire.call_count == 1


def test_overload_understands_a_date_to_come_back_at(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    wire.put(f"{API}/tasks/t1/status", status_code=503, headers={"Retry-After": date})

    with pytest.raises(errors.ApiOverloaded) as caught:
        client.write_status("t1", REPORT, key="k")

    assert caught.value.retry_after_s is not None
    assert 3000 < caught.value.retry_after_s <= 3600


@pytest.mark.parametrize(("raw", "seconds"), [("-5", 0.0), ("soon", None), ("nan", None)])
def test_overload_with_a_strange_time_to_come_back_at(
    raw: str, seconds: float | None, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(f"{API}/tasks/t1/status", status_code=429, headers={"Retry-After": raw})

    with pytest.raises(errors.ApiOverloaded) as caught:
        client.write_status("t1", REPORT, key="k")

    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_write_is_sent_once(
    status: int, client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.put(f"{API}/tasks/t1/status", status_code=status)

    with pytest.raises(errors.ApiError):
        client.write_status("t1", REPORT, key="k")

    assert sent() == [("PUT", "/tasks/t1/status")]


def _refused_connection() -> requests.ConnectionError:
    new = urllib3.exceptions.NewConnectionError(None, "refused")  # type: ignore[arg-type]
    return requests.ConnectionError(
        urllib3.exceptions.MaxRetryError(None, "/", new)  # type: ignore[arg-type]
    )


def _reset_connection() -> requests.ConnectionError:
    reset = ConnectionResetError(104, "Connection reset by peer")
    return requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", reset))


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (_refused_connection(), errors.ApiUnreachable),
        (requests.ConnectTimeout(), errors.ApiUnreachable),
        (requests.exceptions.ProxyError(), errors.ApiUnreachable),
        (requests.ReadTimeout(), errors.ApiAmbiguous),
        (_reset_connection(), errors.ApiAmbiguous),
        (requests.exceptions.ChunkedEncodingError(), errors.ApiAmbiguous),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_lost_write_says_whether_it_may_have_arrived(
    lost: Exception,
    expected: type[errors.ApiError],
    client: KerutaClient,
    wire: requests_mock.Mocker,
) -> None:
    wire.put(f"{API}/tasks/t1/status", exc=lost)

    with pytest.raises(errors.ApiError) as caught:
        client.write_status("t1", REPORT, key="k")

    assert type(caught.value) is expected
    assert wire.call_count == 1


def test_lost_read_is_never_ambiguous(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/tasks/t1", exc=_reset_connection())

    with pytest.raises(errors.ApiUnreachable, match="Connection reset by peer"):
        client.task("t1")


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


def test_error_of_a_lost_request_shows_no_secret_even_in_its_traceback(
    wire: requests_mock.Mocker,
) -> None:
    wire.get(f"{API}/tasks/t1", exc=_reset_connection())

    with (
        KerutaClient("http://user:hunter2@keruta.test", token="s3cret-token") as client,
        pytest.raises(errors.ApiUnreachable) as caught,
    ):
        client.task("t1")

    printed = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in printed
    assert "s3cret-token" not in printed


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


def test_write_replaces_half_surrogates(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.post(f"{API}/tasks/t1/input-request", status_code=201)

    client.request_input("t1", "名前\udc80?", key="k")

    assert wire.last_request.json() == {"prompt": "名前??"}
    assert wire.last_request.headers["Idempotency-Key"] == "k"


@pytest.mark.parametrize("token", ["a\nb", "a\x00b", "トークン"])
def test_token_that_no_header_can_carry_is_a_settings_error_without_it(token: str) -> None:
    with pytest.raises(errors.SettingsError, match="KERUTA_API_TOKEN") as caught:
        KerutaClient("http://keruta.test", token=token)

    assert token not in str(caught.value)


def test_token_from_a_file_may_end_with_a_line_end(wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/health", json={"status": "UP"})

    with KerutaClient("http://keruta.test", token="abc\n") as client:
        client.health()

    assert wire.last_request.headers["Authorization"] == "Bearer abc"


def test_timeouts_differ_for_reads_and_status_writes(
    wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", json=task_body())
    wire.put(f"{API}/tasks/t1/status", json=task_body(status="COMPLETED"))

    with KerutaClient("http://keruta.test", timeout_s=7, status_timeout_s=99) as client:
        client.task("t1")
        client.write_status("t1", REPORT, key="k")

    assert [request.timeout for request in wire.request_history] == [(5.0, 7), (5.0, 99)]


@pytest.mark.parametrize(
    ("address", "uses_environment"), [("http://127.0.0.1:1", False), ("http://keruta.test", True)]
)
def test_proxy_settings_of_the_environment_are_not_used_for_loopback(
    address: str, uses_environment: bool
) -> None:
    client = HttpClient(address, token=None, timeout_s=1, user_agent="test")

    with client._session() as session:
        assert session.trust_env is uses_environment
    client.close()


def test_sessions_are_used_again_and_never_by_two_calls_at_once() -> None:
    client = HttpClient("http://127.0.0.1:1", token=None, timeout_s=1, user_agent="test")

    with client._session() as first, client._session() as second:
        assert first is not second
    with client._session() as third:
        assert third in (first, second)
    client.close()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a/b", "a%2Fb"), ("a b?c#d", "a%20b%3Fc%23d"), ("日", "%E6%97%A5"), ("..x", "..x")],
)
def test_segment_encodes_what_would_change_the_path(value: str, expected: str) -> None:
    assert segment(value) == expected


@pytest.mark.parametrize("value", ["", " ", ".", ".."])
def test_segment_refuses_what_is_no_id(value: str) -> None:
    with pytest.raises(errors.ApiNotFound):
        segment(value)
