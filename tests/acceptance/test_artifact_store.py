"""Servers on one database and one object store are one server: also when one of them is killed."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from keruta_agent.server.store.artifacts.objects import Objects
from keruta_agent.server.store.artifacts.sweeper import Sweeper
from keruta_agent.server.store.database import open_database
from keruta_agent.server.store.tables import Tables
from tests.helpers.api import Api
from tests.helpers.object_server import SECRET, Bucket
from tests.helpers.processes import Process, Workplace
from tests.helpers.server_pair import server_pair, under_load
from tests.helpers.waiting import wait_until

MIB = 1024 * 1024
CONTENT = b"what a task left behind\n" * 1000
PATIENCE_S = 60
_SERVICES = ("--runner-services", "--registry-port", "0", "--pool-port", "0", "--store-port", "0")


@pytest.fixture
def shared(workplace: Workplace, bucket: Bucket, postgresql_url: str) -> Workplace:
    """A workplace whose servers share a database and a store."""
    workplace.environment |= bucket.environment | {
        "KERUTA_SERVER_DATABASE_URL": postgresql_url,
        "KERUTA_SERVER_ARTIFACT_STORE": bucket.url("a"),
    }
    return workplace


def _artifacts(api: Api, url: str) -> str:
    task: str = api.file_task("true")
    return f"{url}/api/v1/tasks/{task}/artifacts"


def _upload(address: str, content: bytes = CONTENT) -> requests.Response:
    return requests.post(address, files={"file": ("a", content)}, timeout=PATIENCE_S)


def test_artifact_of_one_server_is_served_and_deleted_by_the_other(
    shared: Workplace, bucket: Bucket
) -> None:
    (_, first), (_, second) = (shared.server(name=name) for name in ("first", "second"))
    address = _artifacts(Api(first), first)
    artifact = _upload(address).json()["id"]
    other = address.replace(first, second)
    assert requests.get(f"{other}/{artifact}/content", timeout=PATIENCE_S).content == CONTENT
    assert requests.delete(f"{other}/{artifact}", timeout=PATIENCE_S).status_code == 204
    assert requests.get(f"{address}/{artifact}/content", timeout=PATIENCE_S).status_code == 404
    wait_until(lambda: not bucket.artifacts("a"), "the object is removed")


def test_artifact_of_one_runners_store_is_served_by_the_other(
    shared: Workplace, bucket: Bucket
) -> None:
    stores = []
    for name in ("first", "second"):
        process, _ = shared.server(0, *_SERVICES, name=name)
        found = re.search(r"Artifact Store on (\S+)", process.out)
        assert found is not None
        stores.append(found[1])
    first, second = stores
    answer = requests.post(
        f"{first}/artifacts",
        data={"type": "diff"},
        files={"file": ("a", CONTENT)},
        timeout=PATIENCE_S,
    )
    artifact = answer.json()["id"]
    assert bucket.artifacts("a/runner") == {artifact}
    answer = requests.get(f"{second}/artifacts/{artifact}", timeout=PATIENCE_S)
    assert answer.content == CONTENT


def test_server_killed_in_the_middle_of_uploads_leaves_nothing(
    shared: Workplace, bucket: Bucket, postgresql_url: str
) -> None:
    server, url = shared.server()
    api = Api(url)
    kept = _upload(_artifacts(api, url)).json()["id"]
    halves = _artifacts(api, url)
    sent = _artifacts(api, url)
    incoming = shared.path / "server" / "incoming"
    with ThreadPoolExecutor(1) as threads, _half_an_upload(halves):
        wait_until(lambda: len(_sizes(incoming)) == 1, "half of a file has come")
        with bucket.server.standing_still():
            waiting = threads.submit(_upload, sent)
            wait_until(lambda: len(CONTENT) in _sizes(incoming), "a whole one waits for the store")
            server.kill()
        assert isinstance(waiting.exception(PATIENCE_S), requests.ConnectionError)
    server, again = shared.server()
    assert _sizes(incoming) == []
    for address in (halves, sent):
        found = requests.get(address.replace(url, again), timeout=PATIENCE_S)
        assert found.json() == []
    _sweep(bucket, shared.path, postgresql_url)
    assert bucket.artifacts("a") == {kept}
    assert bucket.unfinished() == []


@contextlib.contextmanager
def _half_an_upload(address: str) -> Iterator[None]:
    parts = urlsplit(address)
    form = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {4 * MIB}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    )
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(head.encode() + form + bytes(MIB))
        yield


def _sizes(directory: Path) -> list[int]:
    return [file.stat().st_size for file in directory.iterdir()]


def _sweep(bucket: Bucket, path: Path, url: str) -> None:
    """Remove the orphans as a server does a day later."""
    with contextlib.closing(open_database(path, url)) as database:
        tables = Tables(database)
        objects = Objects(bucket.location("a"))
        identity = bucket.content("a/artifacts.database").decode()
        Sweeper(
            objects,
            database,
            *(tables.artifacts, tables.runner_artifacts),
            identity=identity,
            grace=timedelta(seconds=-10),
        ).sweep()


def test_large_files_pass_through_in_flat_memory(shared: Workplace, bucket: Bucket) -> None:
    server, url = shared.server()
    address = _artifacts(Api(url), url)
    # Two parts at a time from now on: all that is needed has been loaded, and buffers were made.
    _pass_through(address, 24)
    before = _peak_mib(server)
    _pass_through(address, 72)
    assert _peak_mib(server) - before < 48


def _pass_through(address: str, size: int) -> None:
    boundary = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    answer = requests.post(
        address,
        data=(piece for piece in (boundary, *[bytes(MIB)] * size, b"\r\n--B--\r\n")),
        headers={"Content-Type": "multipart/form-data; boundary=B"},
        timeout=PATIENCE_S,
    )
    artifact = answer.json()["id"]
    digest = hashlib.sha256()
    with requests.get(f"{address}/{artifact}/content", stream=True, timeout=PATIENCE_S) as answer:
        for piece in answer.iter_content(MIB):
            digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(bytes(size * MIB)).hexdigest()


def _peak_mib(server: Process) -> int:
    """Return the most memory that a process has had."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def test_server_is_ready_only_with_its_store(shared: Workplace, bucket: Bucket) -> None:
    _, url = shared.server()

    def readiness() -> int:
        return requests.get(f"{url}/health/ready", timeout=PATIENCE_S).status_code

    assert readiness() == 200
    with bucket.server.standing_still():
        wait_until(lambda: readiness() == 503, "the server is not ready without its store")
        assert requests.get(f"{url}/health", timeout=PATIENCE_S).status_code == 200
    wait_until(lambda: readiness() == 200, "the server is ready again")


def test_server_says_in_one_line_that_its_store_refuses_and_tells_no_key(
    workplace: Workplace, bucket: Bucket
) -> None:
    store = {"KERUTA_SERVER_ARTIFACT_STORE": bucket.url(), **bucket.environment}
    with bucket.server.refusing():
        ended = workplace.run("server", "--port", "0", **store)
    assert ended.returncode == 1
    assert bucket.url() in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout
    assert len(ended.stderr.splitlines()) == 1


def test_key_in_the_url_is_refused_without_repeating_it(workplace: Workplace) -> None:
    ended = workplace.run("server", "--artifact-store", "s3://id:hidden@bucket/p")
    assert ended.returncode == 2
    assert "AWS_SECRET_ACCESS_KEY" in ended.stderr
    assert "hidden" not in ended.stderr


def test_no_artifact_is_lost_or_doubled_when_servers_are_killed_under_load(
    workplace: Workplace, bucket: Bucket, postgresql_url: str
) -> None:
    store = {"KERUTA_SERVER_ARTIFACT_STORE": bucket.url("a"), **bucket.environment}
    confirmed: dict[str, bytes] = {}
    with server_pair(workplace, postgresql_url, **store) as pair:
        api = Api(pair.url)
        address = f"{pair.url}/api/v1/tasks/{api.file_task('true')}/artifacts"

        def upload(number: int) -> None:
            content = b"%d" % number + CONTENT
            confirmed[_confirmed(address, content, key=f"key-{number}")] = content

        with under_load(upload):
            pair.kill(0)
            pair.kill(1)
        listed = requests.get(address, timeout=PATIENCE_S).json()
        assert {each["id"] for each in listed} == set(confirmed)
        assert len(listed) == len(confirmed)
        for url in pair.urls:
            for artifact, content in confirmed.items():
                there = f"{address.replace(pair.url, url)}/{artifact}/content"
                assert requests.get(there, timeout=PATIENCE_S).content == content
    _sweep(bucket, workplace.path, postgresql_url)
    assert bucket.artifacts("a") == set(confirmed)


def _confirmed(address: str, content: bytes, *, key: str) -> str:
    """Upload as an agent does: again and again under one key, until it is confirmed."""

    def uploaded() -> str:
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.post(
                address,
                files={"file": ("a", content)},
                headers={"Idempotency-Key": key},
                timeout=PATIENCE_S,
            )
            assert answer.ok or answer.status_code in (502, 503, 504), answer.text
            if answer.ok:
                return str(answer.json()["id"])
        return ""

    return wait_until(uploaded, f"the upload under {key} is confirmed")
