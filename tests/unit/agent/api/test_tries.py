"""Which calls of the client are tried again, and what a lost one may have done."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests
import requests_mock
import urllib3.exceptions

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import StatusReport, TaskStatus
from tests.helpers.keruta_wire import API, Sent, TaskBody

REPORT = StatusReport(status=TaskStatus.COMPLETED, progress=100)


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
