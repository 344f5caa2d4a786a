"""Redirects of reads and writes, over real connections."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile, StatusReport, TaskStatus
from tests.helpers import tls
from tests.helpers.tls import Authority

REPORT = StatusReport(status=TaskStatus.COMPLETED, message="done", progress=100)
TASK = {"id": "t1", "sessionId": "s1", "name": "Build", "status": "COMPLETED"}
Answer = tuple[int, dict[str, str], bytes]
JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Arrived:
    """A request as the server saw it."""

    method: str
    path: str
    token: str | None
    body: bytes


class Recorder:
    """Answers with a task and keeps what arrived."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []

    def __call__(self, request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        token = request.headers.get("Authorization")
        self.arrived.append(Arrived(request.command, request.path, token, body))
        return 200, JSON, json.dumps(TASK).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def api() -> Recorder:
    return Recorder()


@pytest.fixture
def tls_url(api: Recorder, authority: Authority) -> Iterator[str]:
    with tls.server(api, authority.server_context("localhost")) as url:
        yield url


def _client(url: str, authority: Authority) -> KerutaClient:
    return KerutaClient(url, token="s3cret", ca_file=authority.file, timeout_s=10)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_write_goes_on_to_https_with_method_body_and_token(
    status: int, api: Recorder, tls_url: str, authority: Authority
) -> None:
    def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        return status, {"Location": f"{tls_url}{request.path}"}, b""

    with tls.server(lead) as plain, _client(plain, authority) as client:
        client.write_status("t1", REPORT, key="k")

    (arrived,) = api.arrived
    assert (arrived.method, arrived.path) == ("PUT", "/api/v1/tasks/t1/status")
    assert arrived.token == "Bearer s3cret"
    assert json.loads(arrived.body)["status"] == "COMPLETED"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_write_goes_on_to_an_added_slash(status: int, api: Recorder, authority: Authority) -> None:
    def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        if not request.path.endswith("/"):
            return status, {"Location": f"{request.path}/"}, b""
        return api(request, body)

    with tls.server(lead) as url, _client(url, authority) as client:
        client.write_status("t1", REPORT, key="k")

    assert [(each.method, each.path) for each in api.arrived] == [
        ("PUT", "/api/v1/tasks/t1/status/")
    ]


def test_file_is_sent_whole_again(
    api: Recorder, tls_url: str, authority: Authority, tmp_path: Path
) -> None:
    content = b"0123456789" * 50_000
    file = tmp_path / "big.bin"
    file.write_bytes(content)
    artifact = ArtifactFile(
        file=file,
        relative_path="big.bin",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type="application/octet-stream",
        description="",
    )

    def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        return 307, {"Location": f"{tls_url}{request.path}"}, b""

    with tls.server(lead) as plain, _client(plain, authority) as client:
        client.upload_artifact("t1", artifact, key="k")

    assert content in api.arrived[-1].body


def test_address_that_moved_for_good_is_asked_first_from_then_on(
    api: Recorder, tls_url: str, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    led: list[str] = []

    def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        led.append(request.path)
        return 308, {"Location": f"{tls_url}{request.path}"}, b""

    with tls.server(lead) as plain, _client(plain, authority) as client:
        for _ in range(3):
            client.write_status("t1", REPORT, key="k")

    assert len(led) == 1
    assert [each.action for each in caplog.records if hasattr(each, "action")] == ["api_moved"]


def test_write_is_not_repeated_after_303(authority: Authority) -> None:
    asked: list[str] = []

    def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        asked.append(request.command)
        return 303, {"Location": request.path}, b""

    with (
        tls.server(lead) as url,
        _client(url, authority) as client,
        pytest.raises(errors.ApiFailed, match="redirects"),
    ):
        client.write_status("t1", REPORT, key="k")

    assert asked == ["PUT"]


def test_write_to_another_port_is_named_and_carries_nothing_there(
    api: Recorder, authority: Authority
) -> None:
    with tls.server(api) as other:

        def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
            return 307, {"Location": f"{other}{request.path}?code=secret"}, b""

        with (
            tls.server(lead) as url,
            _client(url, authority) as client,
            pytest.raises(errors.ApiFailed) as caught,
        ):
            client.write_status("t1", REPORT, key="k")

    assert api.arrived == []
    assert f"to {other}/api/v1/tasks/t1/status instead" in caught.value.message
    assert caught.value.advice == f"Set KERUTA_API_URL to {other}"


def test_read_from_another_port_carries_no_token(api: Recorder, authority: Authority) -> None:
    with tls.server(api) as other:

        def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
            return 302, {"Location": f"{other}{request.path}"}, b""

        with tls.server(lead) as url, _client(url, authority) as client:
            client.task("t1")

    assert [each.token for each in api.arrived] == [None]


@pytest.mark.parametrize("method", ["read", "write"])
def test_tls_is_never_given_up(method: str, api: Recorder, authority: Authority) -> None:
    with tls.server(api) as plain:

        def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
            return 301, {"Location": f"{plain}{request.path}"}, b""

        with (
            tls.server(lead, authority.server_context("localhost")) as url,
            _client(url, authority) as client,
            pytest.raises(errors.ApiFailed, match="would give up TLS"),
        ):
            if method == "read":
                client.task("t1")
            else:
                client.write_status("t1", REPORT, key="k")

    assert api.arrived == []


def test_authority_that_is_needed_only_after_a_redirect_is_named(
    tls_url: str, authority: Authority, tmp_path: Path
) -> None:
    def lead(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
        return 301, {"Location": f"{tls_url}{request.path}"}, b""

    with tls.server(lead) as plain:
        with (
            KerutaClient(plain, ca_file=tmp_path / "missing.pem") as client,
            pytest.raises(errors.ApiFailed, match=r"missing\.pem is not there"),
        ):
            client.write_status("t1", REPORT, key="k")
        other = Authority(tmp_path)
        with (
            KerutaClient(plain, ca_file=other.file) as client,
            pytest.raises(errors.ApiUnreachable, match=f"of {tls_url}.* is not trusted"),
        ):
            client.write_status("t1", REPORT, key="k")
