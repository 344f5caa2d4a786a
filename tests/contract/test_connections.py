"""What the client makes of real connections that fail or stand still."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from keruta_agent.agent.api import KerutaClient, events
from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile, StatusReport, TaskStatus
from keruta_agent.http.client import http
from tests.helpers.raw_server import raw_server, read_head

REPORT = StatusReport(status=TaskStatus.COMPLETED)

TASK = b'{"id": "t1", "status": "COMPLETED"}'


def _answer(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _reset(connection: socket.socket) -> None:
    read_head(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _hang_up(connection: socket.socket) -> None:
    read_head(connection)


def _cut_off(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(_answer(TASK)[:-5])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_write_to_a_closed_port_surely_did_not_arrive() -> None:
    with (
        KerutaClient(f"http://127.0.0.1:{_free_port()}") as client,
        pytest.raises(errors.ApiUnreachable, match="Connection refused"),
    ):
        client.write_status("t1", REPORT, key="k")


def test_write_to_an_unknown_host_surely_did_not_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # A real name server could take its time, and a proxy would answer instead.
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("NO_PROXY", "*")
    with (
        KerutaClient("http://nobody.invalid") as client,
        pytest.raises(errors.ApiUnreachable, match="Name or service not known"),
    ):
        client.write_status("t1", REPORT, key="k")


@pytest.mark.parametrize("turn", [_reset, _hang_up, _cut_off])
def test_write_whose_answer_is_lost_is_ambiguous(turn: Callable[[socket.socket], None]) -> None:
    with (
        raw_server(turn) as url,
        KerutaClient(url) as client,
        pytest.raises(errors.ApiAmbiguous, match="look before sending it again"),
    ):
        client.write_status("t1", REPORT, key="k")


def test_write_that_is_not_answered_in_time_is_ambiguous() -> None:
    done = threading.Event()

    def stand_still(connection: socket.socket) -> None:
        read_head(connection)
        done.wait(30)

    with (
        raw_server(stand_still) as url,
        KerutaClient(url, timeout_s=0.2, status_timeout_s=0.2) as client,
    ):
        with pytest.raises(errors.ApiAmbiguous, match="no answer in time"):
            client.write_status("t1", REPORT, key="k")
        done.set()


def test_read_whose_answer_is_lost_is_tried_again() -> None:
    def answer(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(_answer(TASK))

    with raw_server(_reset, _cut_off, answer) as url, KerutaClient(url) as client:
        assert client.task("t1").id == "t1"


def test_read_from_something_that_is_no_web_server_is_unreachable() -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        read_head(connection)

    with (
        raw_server(greet, greet, greet) as url,
        KerutaClient(url) as client,
        pytest.raises(errors.ApiUnreachable, match="broke off"),
    ):
        client.task("t1")


def _large_artifact(tmp_path: Path, size: int) -> ArtifactFile:
    file = tmp_path / "large.bin"
    with file.open("wb") as sparse:
        sparse.truncate(size)
    with file.open("rb") as sparse:
        digest = hashlib.file_digest(sparse, "sha256")
    return ArtifactFile(
        file=file,
        relative_path="large.bin",
        size=size,
        sha256=digest.hexdigest(),
    )


def test_artifact_larger_than_memory_limits_is_streamed(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    received: list[int] = []

    def swallow(connection: socket.socket) -> None:
        head, _, body = read_head(connection).partition(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        count = len(body)
        while count < length:
            count += len(connection.recv(1 << 20))
        received.append(count)
        connection.sendall(_answer(b"{}", "201 Created"))

    with raw_server(swallow) as url, KerutaClient(url) as client:
        tracemalloc.start()
        try:
            client.upload_artifact("t1", _large_artifact(tmp_path, size), key="k")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert received[0] > size
    assert peak < 8 * 1024 * 1024


def test_artifact_survives_a_way_that_stands_still_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than making a connection may take: the upload would begin anew, again and again."""
    monkeypatch.setattr(http, "CONNECT_TIMEOUT_S", 0.1)
    heads = []

    def hesitate(connection: socket.socket) -> None:
        heads.append(read_head(connection))
        time.sleep(5 * http.CONNECT_TIMEOUT_S)
        connection.settimeout(http.CONNECT_TIMEOUT_S)
        with contextlib.suppress(TimeoutError):
            while connection.recv(1 << 20):
                pass
        connection.sendall(_answer(b"{}", "201 Created"))

    size = 32 * 1024 * 1024  # more than what the kernel takes for the server
    with raw_server(hesitate) as url, KerutaClient(url) as client:
        client.upload_artifact("t1", _large_artifact(tmp_path, size), key="k")

    assert len(heads) == 1  # it was begun once


def test_artifact_refused_before_it_is_complete_does_not_hang(tmp_path: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(_answer(b"", "413 Content Too Large", "Connection: close\r\n"))

    with (
        raw_server(refuse) as url,
        KerutaClient(url) as client,
        pytest.raises((errors.ApiRefused, errors.ApiAmbiguous)),
    ):
        client.upload_artifact("t1", _large_artifact(tmp_path, 32 * 1024 * 1024), key="k")


def test_events_of_a_silent_server_end_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SILENCE_S", 0.2)
    done = threading.Event()

    def say_one_thing(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent:a\ndata:{}\n\n"
        )
        done.wait(30)

    with raw_server(say_one_thing) as url, KerutaClient(url) as client:
        seen = [event.name for event in client.events("s1", threading.Event())]
        done.set()

    assert seen == ["a"]


def test_events_end_when_the_server_goes_away() -> None:
    def say_half_a_thing(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n12\r\nevent:a\ndata:{}\n\n\r\n20\r\nevent:b"
        )

    with raw_server(say_half_a_thing) as url, KerutaClient(url) as client:
        seen = [event.name for event in client.events("s1", threading.Event())]

    assert seen == ["a"]
