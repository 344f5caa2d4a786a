"""The server as a whole: started, stopped, started again."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.server.serve import Server
from keruta_agent.server.store.data_directory import DataDirectory
from keruta_agent.server.store.database import open_database
from keruta_agent.server.store.tables import Tables
from tests.helpers.embedded_server import embedded_server

PATIENCE_S = 20


@pytest.fixture
def web() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def _task(web: requests.Session, url: str) -> str:
    session = web.post(f"{url}/api/v1/sessions", json={"name": "s"}, timeout=PATIENCE_S).json()
    draft = {"sessionId": session["id"], "name": "t"}
    task: str = web.post(f"{url}/api/v1/tasks", json=draft, timeout=PATIENCE_S).json()["id"]
    return task


def test_server_keeps_everything_over_a_restart(tmp_path: Path, web: requests.Session) -> None:
    with embedded_server(tmp_path) as server:
        task = _task(web, server.url)
        logs = f"/api/v1/tasks/{task}/logs"
        web.post(server.url + logs, json=[{"message": "m"}], headers={"Idempotency-Key": "k"})
        artifact = web.post(
            f"{server.url}/api/v1/tasks/{task}/artifacts", files={"file": ("a.txt", b"abc")}
        ).json()
    with embedded_server(tmp_path) as server:
        assert web.get(f"{server.url}/api/v1/tasks/{task}").json()["name"] == "t"
        web.post(server.url + logs, json=[{"message": "m"}], headers={"Idempotency-Key": "k"})
        assert [entry["message"] for entry in web.get(server.url + logs).json()] == ["m"]
        path = f"/api/v1/tasks/{task}/artifacts/{artifact['id']}/content"
        assert web.get(server.url + path).content == b"abc"


def test_server_sweeps_what_a_killed_one_left(tmp_path: Path, web: requests.Session) -> None:
    with embedded_server(tmp_path) as server:
        task = _task(web, server.url)
        web.post(f"{server.url}/api/v1/tasks/{task}/artifacts", files={"file": ("a", b"abc")})
    kept = list((tmp_path / "artifacts").iterdir())
    (tmp_path / "artifacts" / "orphan").write_bytes(b"x")
    (tmp_path / "incoming" / "half").write_bytes(b"x")
    with embedded_server(tmp_path):
        assert list((tmp_path / "artifacts").iterdir()) == kept
        assert list((tmp_path / "incoming").iterdir()) == []


def test_artifacts_of_another_database_are_not_swept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    with (
        contextlib.closing(DataDirectory(tmp_path)) as directory,
        contextlib.closing(open_database(tmp_path / "other", None)) as database,
    ):
        table = Tables(database).artifacts
        directory.sweep(database, table)
        (directory.artifacts / "orphan").write_bytes(b"x")
        database.name = "postgresql://elsewhere/keruta"
        directory.sweep(database, table)
        assert (directory.artifacts / "orphan").exists()
        assert "holds the artifacts of the database server.db" in caplog.text
        database.name = "server.db"
        directory.sweep(database, table)
        assert not (directory.artifacts / "orphan").exists()


@pytest.mark.on_sqlite
def test_server_keeps_its_files_private(tmp_path: Path, web: requests.Session) -> None:
    data = tmp_path / "a" / "b"
    with embedded_server(data) as server:
        _task(web, server.url)
        assert data.stat().st_mode & 0o777 == 0o700
        modes = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
    assert modes.pop("artifacts") == modes.pop("incoming") == 0o700
    assert {"server.db", "server.db-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_server_says_that_its_port_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(tmp_path, port=port)
        with pytest.raises(errors.AgentStateError, match=f"port {port}: it is in use.*--port"):
            server.start()
    server.start()
    assert server.url == f"http://127.0.0.1:{port}"
    server.stop()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 0)])
def test_server_says_that_its_address_makes_no_sense(tmp_path: Path, host: str, port: int) -> None:
    with pytest.raises(errors.AgentStateError, match=f"cannot listen on {host} port {port}"):
        Server(tmp_path, host=host, port=port).start()


def test_server_stops_although_a_client_stands_still(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0)) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(
            b"POST /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        )
        assert b"100 Continue" in client.recv(100)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()


def test_second_server_on_one_directory_is_refused(tmp_path: Path) -> None:
    with (
        embedded_server(tmp_path),
        pytest.raises(errors.AgentStateError, match="another keruta server"),
        embedded_server(tmp_path),
    ):
        pass


def test_server_says_that_its_directory_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.AgentStateError, match=r"data directory .*file/data.*--data"):
        Server(tmp_path / "file" / "data", port=0).start()


def test_server_says_that_its_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "server.db").write_bytes(b"this is not a database, but long enough to be read")
    with pytest.raises(errors.AgentStateError, match=r"server\.db"):
        Server(tmp_path, port=0).start()


@pytest.mark.parametrize("url", ["mysql://u:secret@h/d", "nonsense", "postgresql://u:secret@h"])
def test_server_refuses_a_database_url_without_telling_the_password(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(errors.KerutaError) as caught:
        Server(tmp_path, port=0, database_url=url).start()
    assert "secret" not in str(caught.value)


def test_server_may_be_stopped_twice_and_before_its_start(tmp_path: Path) -> None:
    server = Server(tmp_path, port=0)
    server.stop()
    server.start()
    url = server.url
    assert requests.get(f"{url}/health", timeout=PATIENCE_S).status_code == 200
    server.stop()
    server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/health", timeout=PATIENCE_S)


def test_server_leaves_no_thread_behind(tmp_path: Path, web: requests.Session) -> None:
    before = set(threading.enumerate())
    with embedded_server(tmp_path) as server:
        _task(web, server.url)
    left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    for thread in left:
        thread.join(PATIENCE_S)
    assert [thread for thread in left if thread.is_alive()] == []


def test_server_finishes_the_request_in_flight_when_it_stops(server: Server) -> None:
    body = b'{"name": "slow"}'
    with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0)) as client:
        client.settimeout(PATIENCE_S)
        head = (
            "POST /api/v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode())
        # The server has the request now, and waits for its body.
        assert b"100 Continue" in client.recv(100)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        client.sendall(body)
        assert b" 201 " in client.recv(1000)
        stopping.join(PATIENCE_S)


def test_chunked_bodies_are_read(server: Server, web: requests.Session) -> None:
    task = _task(web, server.url)
    body = [b'[{"mess', b'age": "a"}, {"mes', b'sage": "b"}]']
    answer = web.post(
        f"{server.url}/api/v1/tasks/{task}/logs",
        data=iter(body),
        headers={"Content-Type": "application/json"},
        timeout=PATIENCE_S,
    )
    assert answer.json() == {"stored": 2}


def _pieces(size: int) -> Iterator[bytes]:
    yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    yield from (bytes(1024 * 1024) for _ in range(size))
    yield b"\r\n--B--\r\n"


def test_large_artifact_is_streamed(server: Server, web: requests.Session) -> None:
    task = _task(web, server.url)
    answer = web.post(
        f"{server.url}/api/v1/tasks/{task}/artifacts",
        data=_pieces(20),
        headers={"Content-Type": "multipart/form-data; boundary=B"},
        timeout=PATIENCE_S,
    ).json()
    assert answer["size"] == 20 * 1024 * 1024
    assert answer["sha256"] == hashlib.sha256(bytes(20 * 1024 * 1024)).hexdigest()


@pytest.mark.parametrize("chunked", [True, False])
def test_client_sees_the_refusal_of_an_upload_that_it_still_sends(
    server: Server, chunked: bool
) -> None:
    size = sum(map(len, _pieces(8)))
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=PATIENCE_S)
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    if not chunked:
        headers["Content-Length"] = str(size)
    path = "/api/v1/tasks/unknown/artifacts"
    connection.request("POST", path, body=_pieces(8), headers=headers, encode_chunked=chunked)
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"TASK_NOT_FOUND" in answer.read()
    connection.close()
