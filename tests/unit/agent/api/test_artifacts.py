"""Artifacts as a streamed multipart body."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from werkzeug.datastructures import Headers
from werkzeug.formparser import parse_form_data
from werkzeug.test import EnvironBuilder

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile
from keruta_agent.http.client.multipart import MultipartBody
from tests.helpers.keruta_wire import API, TaskBody

ARTIFACTS = f"{API}/tasks/t1/artifacts"


def _artifact(tmp_path: Path, content: bytes = b"data", name: str = "a/b.txt") -> ArtifactFile:
    file = tmp_path / Path(name).name
    file.write_bytes(content)
    return ArtifactFile(
        file=file,
        relative_path=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type="text/plain",
        description="説明",
    )


def _parsed(body: bytes, content_type: str) -> tuple[Any, Any]:
    builder = EnvironBuilder(
        method="POST",
        input_stream=io.BytesIO(body),
        headers=Headers({"Content-Type": content_type}),
    )
    _, form, files = parse_form_data(builder.get_environ())
    return form, files


@pytest.mark.parametrize("name", ["a/b.txt", "結果/レポート.txt", 'we"ird%22.txt', "only name.txt"])
def test_artifact_is_read_back_by_a_real_form_parser(
    name: str, client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    content = b"\r\n--boundary\x00\xff" * 20_000
    received: list[bytes] = []

    def receive(request: Any, context: Any) -> str:
        received.append(b"".join(request.body))
        context.status_code = 201
        return "{}"

    wire.post(ARTIFACTS, text=receive)
    artifact = _artifact(tmp_path, content, name)

    client.upload_artifact("t1", artifact, key="k")

    headers = wire.last_request.headers
    assert headers["Content-Length"] == str(len(received[0]))
    assert headers["Idempotency-Key"] == "k"
    form, files = _parsed(received[0], headers["Content-Type"])
    assert form.to_dict() == {"description": "説明", "path": name, "sha256": artifact.sha256}
    with files["file"].stream as stored:
        assert stored.read() == content
    assert files["file"].mimetype == "text/plain"
    # Percent-coded quotes are read back as quotes, as browsers' forms are.
    assert files["file"].filename == Path(name).name.replace("%22", '"')


def test_multipart_body_is_as_long_as_it_says_whatever_is_read_at_once(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 1000)

    for size in (1, 7, 100, 10_000):
        with file.open("rb") as opened:
            body = MultipartBody({"a": "1"}, file=opened, filename="f", file_type="text/plain")
            blocks = list(iter(lambda: body.read(size), b""))  # noqa: B023
        assert sum(map(len, blocks)) == len(body)
        assert max(map(len, blocks)) <= size


def test_multipart_body_leaves_out_what_is_appended_while_it_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 10)

    with file.open("rb") as opened:
        body = MultipartBody({}, file=opened, filename="f", file_type="text/plain")
        with file.open("ab") as more:
            more.write(b"y" * 10)
        sent = b"".join(body)

    assert len(sent) == len(body)
    assert b"y" not in sent.partition(b"text/plain")[2].rpartition(b"--")[0].partition(b"--")[0]


def test_multipart_body_fails_when_the_file_becomes_shorter(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 100_000)

    with file.open("rb", buffering=0) as opened:
        body = MultipartBody({}, file=opened, filename="f", file_type="text/plain")
        file.write_bytes(b"")
        with pytest.raises(OSError, match="shorter"):
            b"".join(body)


def test_multipart_header_cannot_be_broken_by_a_name(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")

    with file.open("rb") as opened:
        body = MultipartBody(
            {}, file=opened, filename='a"\r\nX-Evil: 1', file_type="text/plain\r\nX-Evil: 2"
        )
        sent = b"".join(body)

    assert b"\r\nX-Evil" not in sent


def test_artifact_that_is_empty_is_sent(
    client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    wire.post(ARTIFACTS, status_code=201)

    client.upload_artifact("t1", _artifact(tmp_path, b""), key="k")

    assert wire.call_count == 1


@pytest.mark.parametrize("status", [405, 415, 501])
def test_artifact_store_that_is_missing_is_unsupported_and_asked_once(
    status: int, client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    wire.post(ARTIFACTS, status_code=status)

    for _ in range(2):
        with pytest.raises(errors.ApiUnsupported):
            client.upload_artifact("t1", _artifact(tmp_path), key="k")

    assert wire.call_count == 1


def test_artifact_that_is_too_large_is_refused_and_smaller_ones_are_still_sent(
    client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    wire.post(ARTIFACTS, [{"status_code": 413}, {"status_code": 201}])

    with pytest.raises(errors.ApiRefused, match="too large for this server") as caught:
        client.upload_artifact("t1", _artifact(tmp_path), key="k")
    assert not isinstance(caught.value, errors.ApiUnsupported)
    client.upload_artifact("t1", _artifact(tmp_path), key="k")


def test_artifact_of_an_unknown_task_is_not_found(
    client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    wire.post(ARTIFACTS, status_code=404)
    wire.get(f"{API}/tasks/t1", status_code=404)

    with pytest.raises(errors.ApiNotFound):
        client.upload_artifact("t1", _artifact(tmp_path), key="k")


def test_artifact_on_a_server_without_the_route_but_with_the_task_is_unsupported(
    client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path, task_body: TaskBody
) -> None:
    wire.post(ARTIFACTS, status_code=404)
    wire.get(f"{API}/tasks/t1", json=task_body())

    with pytest.raises(errors.ApiUnsupported):
        client.upload_artifact("t1", _artifact(tmp_path), key="k")


def test_artifact_file_that_is_gone_is_not_found_without_a_request(
    client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    artifact = _artifact(tmp_path)
    artifact.file.unlink()

    with pytest.raises(errors.NotFound, match="is gone"):
        client.upload_artifact("t1", artifact, key="k")

    assert wire.call_count == 0


def test_artifact_file_that_changed_is_not_sent(
    client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    artifact = _artifact(tmp_path)
    artifact.file.write_bytes(b"something longer")

    with pytest.raises(errors.AgentStateError, match="changed from 4 to 16 bytes"):
        client.upload_artifact("t1", artifact, key="k")

    assert wire.call_count == 0
