"""Errors, tries and time limits that the clients of the runner's services have in common."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import requests_mock

from keruta_agent.core import errors
from keruta_agent.runner import (
    ArtifactStoreClient,
    RepoPoolClient,
    RetryConfig,
    TaskRegistryClient,
)

URL = "http://service.test:8001"
STATUS = f"{URL}/tasks/1.1/status"


def _registry(**options: Any) -> TaskRegistryClient:
    return TaskRegistryClient(URL, **options)


def test_write_sends_the_wire_of_the_contract(wire: requests_mock.Mocker) -> None:
    wire.put(STATUS, status_code=204)

    _registry().update_task_status(task_id="1.1", status="in_progress")

    sent = wire.last_request.json()
    assert (sent["status"], sent["metadata"]) == ("in_progress", {})
    assert isinstance(sent["updated_at"], float)
    assert "Authorization" not in wire.last_request.headers


def test_key_is_sent_as_bearer_and_never_shown(wire: requests_mock.Mocker) -> None:
    wire.put(STATUS, status_code=401, json={"error": {"message": "bad s3cret-key"}})
    client = _registry(api_key="s3cret-key")

    with pytest.raises(errors.AuthenticationError, match="Failed to update the status") as caught:
        client.update_task_status("1.1", "done")

    assert wire.last_request.headers["Authorization"] == "Bearer s3cret-key"
    assert "s3cret" not in f"{caught.value}{client!r}{caught.value.__cause__}"


def test_failed_request_is_sent_again_with_the_same_key(
    wire: requests_mock.Mocker, waits: list[float]
) -> None:
    wire.put(
        STATUS,
        [
            {"exc": requests.ConnectionError("gone")},
            {"status_code": 500},
            {"status_code": 503, "headers": {"Retry-After": "7"}},
            {"status_code": 200, "json": {}},
        ],
    )

    _registry().update_task_status("1.1", "done")

    assert len({sent.headers["Idempotency-Key"] for sent in wire.request_history}) == 1
    assert len(waits) == 3
    assert waits[2] == 7
    assert 0.7 < waits[0] < waits[1]


@pytest.mark.parametrize("tries", [0, 2])
def test_tries_are_as_many_as_configured(
    wire: requests_mock.Mocker, waits: list[float], tries: int
) -> None:
    wire.put(STATUS, status_code=500, text="boom")

    with pytest.raises(errors.ServiceError, match="answered 500") as caught:
        _registry(retry_config=RetryConfig(max_retries=tries)).update_task_status("1.1", "done")

    assert caught.value.status == 500
    assert len(wire.request_history) == tries + 1


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 301])
def test_refusal_is_not_tried_again(
    wire: requests_mock.Mocker, waits: list[float], status: int
) -> None:
    wire.put(STATUS, status_code=status, headers={"Location": "http://elsewhere.test/"})

    with pytest.raises(errors.RunnerError, match=r"^Failed to update the status of task '1.1'"):
        _registry().update_task_status("1.1", "done")

    assert (len(wire.request_history), waits) == (1, [])


def test_read_follows_no_redirect(wire: requests_mock.Mocker) -> None:
    wire.get(f"{URL}/tasks/1", status_code=302, headers={"Location": "http://169.254.169.254/"})

    with pytest.raises(errors.ServiceError, match="Failed to get task '1'"):
        _registry().get_task("1")

    assert len(wire.request_history) == 1


def test_service_that_asks_to_wait_for_long_is_given_up(
    wire: requests_mock.Mocker, waits: list[float]
) -> None:
    wire.put(STATUS, status_code=429, headers={"Retry-After": "3600"})

    with pytest.raises(errors.ServiceError, match="429"):
        _registry().update_task_status("1.1", "done")

    assert waits == []


def test_service_that_is_not_there_is_named_with_its_address(waits: list[float]) -> None:
    client = TaskRegistryClient("http://127.0.0.1:1")

    with pytest.raises(errors.ConnectionError) as caught:
        client.update_task_status("test", "in_progress")

    assert str(caught.value).startswith("Failed to connect to http://127.0.0.1:1 (Connection")
    assert isinstance(caught.value, ConnectionError)
    assert client.health_check() is False


@pytest.mark.parametrize("answer", ["<html>Login</html>", "not json", "[1]", ""])
def test_answer_that_is_no_task_is_an_error(wire: requests_mock.Mocker, answer: str) -> None:
    wire.get(f"{URL}/tasks/1", text=answer)

    with pytest.raises(errors.RunnerError, match=r"^Failed to get task '1'"):
        _registry().get_task("1")


def test_value_that_json_lacks_is_an_error_of_the_runner(wire: requests_mock.Mocker) -> None:
    with pytest.raises(errors.RunnerError, match="Failed to add the event"):
        _registry().add_event("1", "x", {"ratio": float("nan")})


@pytest.mark.parametrize("task_id", ["", ".", "..", "  "])
def test_id_that_would_name_something_else_is_refused(
    wire: requests_mock.Mocker, task_id: str
) -> None:
    with pytest.raises(errors.ServiceError, match="no task has such an id"):
        _registry().get_task(task_id)


def test_ids_are_quoted_in_addresses(wire: requests_mock.Mocker) -> None:
    wire.get(requests_mock.ANY, json={})

    _registry().get_task("../admin?x=1#y", spec_name="a b&c")

    assert wire.last_request.url == (f"{URL}/tasks/..%2Fadmin%3Fx%3D1%23y?spec_name=a+b%26c")


@pytest.mark.parametrize("address", ["file:///srv", "localhost:8001", "", "http://", "ftp://x"])
def test_address_that_is_none_is_a_setting_to_fix(address: str) -> None:
    with pytest.raises(errors.SettingsError, match="artifact_store_url"):
        ArtifactStoreClient(address)


def test_address_and_timeout_are_kept() -> None:
    client = RepoPoolClient("http://user:secret@localhost:8002/", timeout=12)

    assert (client.base_url, client.timeout) == ("http://localhost:8002", 12)
    assert "secret" not in repr(client)


@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False), (404, False)])
def test_health_is_the_answer_of_the_service(
    wire: requests_mock.Mocker, status: int, expected: bool
) -> None:
    wire.get(f"{URL}/health", status_code=status)

    assert _registry().health_check() is expected
    assert wire.last_request.timeout == (5.0, 5.0)
