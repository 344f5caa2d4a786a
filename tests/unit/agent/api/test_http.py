"""Authentication, redirects, timeouts and sessions below every call of the client."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import requests
import requests_mock

import keruta_agent
from keruta_agent.agent.api import KerutaClient, pending
from keruta_agent.core import errors
from keruta_agent.core.model import LogEntry, LogLevel, StatusReport, TaskStatus
from keruta_agent.http.client import bodies
from keruta_agent.http.client.http import HttpClient, segment
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
    "target", ["http://other.test/x", "http://keruta.test:81/x", "https://other.test/x"]
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


def test_answer_that_is_nested_too_deeply_is_invalid(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    nested = {"text": "[" * 200_000, "headers": {"Content-Type": "application/json"}}
    wire.get(f"{API}/tasks/t1", **nested)
    wire.post(f"{API}/tasks/t1/logs", **nested)

    with pytest.raises(errors.ApiFailed, match="not JSON"):
        client.task("t1")
    with pytest.raises(errors.ApiAmbiguous, match="not JSON"):
        client.send_logs("t1", [LogEntry(level=LogLevel.INFO, message="x")], key="k")


def test_answer_without_an_end_is_not_read_for_ever(
    client: KerutaClient, wire: requests_mock.Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.get(f"{API}/tasks/t1", text=" " * 100)
    wire.put(f"{API}/tasks/t1/status", text=" " * 100)
    monkeypatch.setattr(bodies, "LARGEST", 99)

    with pytest.raises(errors.ApiUnreachable, match="larger than 99 bytes"):
        client.task("t1")
    with pytest.raises(errors.ApiAmbiguous, match="larger than 99 bytes"):
        client.write_status("t1", REPORT, key="k")


def test_task_list_may_be_longer_than_other_answers_and_has_a_limit_too(
    client: KerutaClient, wire: requests_mock.Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.get(f"{API}/sessions/s1/tasks?status=PENDING", text="[" + " " * 200 + "]")
    monkeypatch.setattr(bodies, "LARGEST", 99)
    assert list(client.pending_tasks("s1")) == []
    monkeypatch.setattr(pending, "LARGEST_LIST", 199)
    with pytest.raises(errors.ApiUnreachable, match="larger than 199 bytes"):
        client.pending_tasks("s1")


def test_answer_that_comes_in_drops_is_not_waited_for(
    client: KerutaClient, wire: requests_mock.Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.get(f"{API}/tasks/t1", text=" " * 100)
    now = itertools.count(0.0, 1000.0)
    monkeypatch.setattr(bodies.time, "monotonic", lambda: next(now))

    with pytest.raises(errors.ApiUnreachable, match="no answer in time"):
        client.task("t1")
