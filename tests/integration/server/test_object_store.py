"""Artifacts in an object store, over the API: of a real server of S3."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from keruta_agent.core import errors
from keruta_agent.server.application import create_application
from keruta_agent.server.store.artifacts import objects
from keruta_agent.server.store.artifacts.location import ArtifactLocation
from keruta_agent.server.store.artifacts.store import ArtifactStoreError
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.asgi_client import Answer, Client
from tests.helpers.object_server import SECRET, Bucket, ObjectServer, Relay
from tests.helpers.waiting import wait_until

CONTENT = bytes(range(256)) * 1000
#: More than one part.
LARGE = bytes(range(256)) * 80_000


@contextlib.contextmanager
def served(data: Path, bucket: Bucket | None) -> Iterator[ApiCaller]:
    """Serve a data directory, with artifacts in a bucket."""
    location = None if bucket is None else bucket.location("a/b")
    store = Store.open(data, None, location)
    app = create_application(store)
    try:
        yield ApiCaller(app)
    finally:
        app.close()
        store.close()


@pytest.fixture
def api(tmp_path: Path, bucket: Bucket) -> Iterator[ApiCaller]:
    with served(tmp_path, bucket) as api:
        yield api


def store_of(api: ApiCaller) -> Store:
    """Return what an application serves."""
    app: Any = api.app
    store: Store = app.context.store
    return store


def upload(
    api: ApiCaller, task: str, content: bytes = CONTENT, *, key: str = "", **form: str
) -> Answer:
    return api.call(
        "POST",
        f"/tasks/{task}/artifacts",
        data=form,
        files={"file": ("a.txt", content, "text/plain")},
        headers={"Idempotency-Key": key} if key else {},
    )


def stored(api: ApiCaller, content: bytes = CONTENT) -> tuple[str, str]:
    """Upload; return the artifact's id and its path."""
    task = api.task()["id"]
    answer = upload(api, task, content)
    assert answer.status_code == 201, answer.text
    artifact = answer.json()["id"]
    return artifact, f"/tasks/{task}/artifacts/{artifact}"


@pytest.mark.parametrize("content", [CONTENT, b"", LARGE], ids=["small", "empty", "parts"])
def test_artifact_is_an_object_under_its_id_and_comes_back(
    api: ApiCaller, bucket: Bucket, tmp_path: Path, content: bytes
) -> None:
    artifact, path = stored(api, content)
    assert bucket.artifacts("a/b") == {artifact}
    assert bucket.content(f"a/b/artifacts/{artifact}") == content
    described = api.get(path)
    assert described["size"] == len(content)
    assert described["sha256"] == hashlib.sha256(content).hexdigest()
    assert api.call("GET", f"{path}/content").content == content
    assert list((tmp_path / "incoming").iterdir()) == list((tmp_path / "artifacts").iterdir()) == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=0-9"},
        {"Range": "bytes=255990-"},
        {"Range": "bytes=-5"},
        {"Range": "bytes=5-3"},
        {"Range": "bytes=300000-"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-0", "If-Range": '"another"'},
        {"If-None-Match": "*"},
        {"If-None-Match": f'"{hashlib.sha256(CONTENT).hexdigest()}"'},
        {"If-None-Match": '"another"'},
    ],
    ids=str,
)
def test_download_is_answered_as_of_a_file(
    api: ApiCaller, tmp_path_factory: pytest.TempPathFactory, method: str, headers: dict[str, str]
) -> None:
    with served(tmp_path_factory.mktemp("files"), None) as files:
        answers = []
        for each in (api, files):
            _, path = stored(each)
            answer = each.call(method, f"{path}/content", headers=headers)
            shown = {name: text for name, text in answer.headers.items() if name != "last-modified"}
            answers.append((answer.status_code, shown, answer.content))
    assert answers[0] == answers[1]


def test_of_several_ranges_the_whole_is_sent(api: ApiCaller) -> None:
    _, path = stored(api)
    answer = api.call("GET", f"{path}/content", headers={"Range": "bytes=0-1, 5-6"})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize(
    "form", [{"path": "../x"}, {"sha256": "0" * 64}], ids=["in the view", "before it"]
)
def test_refused_upload_leaves_no_object(
    api: ApiCaller, bucket: Bucket, tmp_path: Path, form: dict[str, str]
) -> None:
    task = api.task()["id"]
    assert upload(api, task, **form).status_code == 400
    wait_until(lambda: not bucket.artifacts("a/b"), "no object is left")
    assert list((tmp_path / "incoming").iterdir()) == []
    assert api.get(f"/tasks/{task}/artifacts") == []


def test_repeated_upload_leaves_one_object(api: ApiCaller, bucket: Bucket) -> None:
    task = api.task()["id"]
    first = upload(api, task, key="k").json()
    assert upload(api, task, key="k").json() == first
    wait_until(lambda: bucket.artifacts("a/b") == {first["id"]}, "one object is left")


def test_upload_that_was_answered_is_answered_again_without_the_store(
    api: ApiCaller, bucket: Bucket
) -> None:
    task = api.task()["id"]
    first = upload(api, task, key="k").json()
    with bucket.server.standing_still():
        again = upload(api, task, key="k")
    assert (again.status_code, again.json()) == (201, first)
    assert list((store_of(api).directory.incoming).iterdir()) == []


@pytest.mark.parametrize("what", ["artifact", "task", "session"])
def test_object_goes_with_what_it_belongs_to(api: ApiCaller, bucket: Bucket, what: str) -> None:
    task = api.task()
    artifact = upload(api, task["id"]).json()["id"]
    path = {
        "artifact": f"/tasks/{task['id']}/artifacts/{artifact}",
        "task": f"/tasks/{task['id']}",
        "session": f"/sessions/{task['sessionId']}",
    }[what]
    assert api.call("DELETE", path).status_code == 204
    wait_until(lambda: not bucket.artifacts("a/b"), "the object is removed")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("content", [CONTENT, b""], ids=["some", "empty"])
def test_artifact_whose_object_is_gone_is_missing(
    api: ApiCaller, bucket: Bucket, method: str, content: bytes
) -> None:
    artifact, path = stored(api, content)
    bucket.delete(f"a/b/artifacts/{artifact}")
    assert api.call(method, f"{path}/content").status_code == 404


def test_pages_show_what_is_in_the_store(api: ApiCaller) -> None:
    visitor = Client(api.app)
    _, path = stored(api, b"<b>first words</b>" * 100_000)
    assert "&lt;b&gt;first words" in visitor.get(path).text
    assert visitor.get(f"{path}/content").content.endswith(b"words</b>")
    _, path = stored(api, b"\x89PNG\r\n\x1a\nrest")
    assert visitor.get(f"{path}/content").content_type == "image/png"


def test_store_that_is_away_refuses_uploads_and_keeps_nothing_of_them(
    tmp_path: Path, object_server: ObjectServer, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_READ_S", "_WRITE_S", "_HASTY_S"):
        monkeypatch.setattr(objects, name, 0.3)
    monkeypatch.setattr(objects, "_RETRIES", 1)
    with served(tmp_path, bucket) as api:
        _, path = stored(api)
        task = api.task()["id"]
        with object_server.standing_still():
            refused = upload(api, task)
            gone = api.call("GET", f"{path}/content")
            with pytest.raises(ArtifactStoreError, match="cannot reach"):
                wait_until(lambda: store_of(api).artifacts.check(), "the store is away")
        for answer in (refused, gone):
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "STORAGE_ERROR"
            assert answer.headers["Retry-After"] == "1"
        assert list((tmp_path / "incoming").iterdir()) == []
        assert api.get(f"/tasks/{task}/artifacts") == []
        wait_until(lambda: _is_ready(store_of(api)), "the store is back")
        assert upload(api, task).status_code == 201
        assert api.call("GET", f"{path}/content").content == CONTENT


def _is_ready(store: Store) -> bool:
    try:
        store.artifacts.check()
    except ArtifactStoreError:
        return False
    return True


def test_connection_that_ends_in_the_middle_of_an_upload_leaves_nothing(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_RETRIES", 1)
    relay = Relay(bucket.server.port, limit=5 * 1024 * 1024)
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
    with contextlib.closing(relay), served(tmp_path, bucket) as api:
        task = api.task()["id"]
        assert upload(api, task, LARGE).status_code == 503
        assert relay.cut
        assert api.get(f"/tasks/{task}/artifacts") == []
        assert list((tmp_path / "incoming").iterdir()) == []
    assert bucket.artifacts("a/b") == set()
    assert bucket.unfinished() == []


def test_server_that_is_not_let_in_says_so_and_does_not_start(
    tmp_path: Path, bucket: Bucket, object_server: ObjectServer
) -> None:
    with object_server.refusing(), pytest.raises(errors.AgentStateError) as caught:
        Store.open(tmp_path, None, bucket.location())
    text = str(caught.value)
    assert bucket.url() in text
    assert "keys" in text
    assert SECRET not in text
    assert "\n" not in text
    assert len(text) < 600


def test_keys_of_the_environment_sign_what_is_asked(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.server.let_in().items():
        bucket.environment[name] = value
        monkeypatch.setenv(name, value)
    # As the server does it, it is taken away before the store is opened.
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with bucket.server.refusing(), served(tmp_path, bucket) as api:
        _, path = stored(api, LARGE)
        assert api.call("GET", f"{path}/content").content == LARGE
        assert api.call("DELETE", path).status_code == 204


def test_store_shows_a_certificate_of_an_authority_that_a_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    options = ("--ssl-cert", str(tmp_path / "own.pem"), "--ssl-key", str(tmp_path / "own.pem"))
    server = ObjectServer(tmp_path / "log", *options)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    location = ArtifactLocation(url="s3://bucket", secrets={"aws_secret_access_key": SECRET})
    try:
        with contextlib.closing(Store.open(tmp_path / "a", None, location)):
            assert "UnknownIssuer" in caplog.text
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        with pytest.raises(errors.AgentStateError, match="NoSuchBucket"):
            Store.open(tmp_path / "b", None, location)
    finally:
        server.kill()


def test_library_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    location = ArtifactLocation.read("s3://bucket", {})
    with pytest.raises(errors.SettingsError, match=r"pip install 'keruta-agent\[s3\]'"):
        Store.open(tmp_path, None, location)


def test_server_that_keeps_files_does_not_load_the_library(tmp_path: Path) -> None:
    program = """
import pathlib, sys
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
create_application(store).close()
store.close()
print(*sorted(sys.modules))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    assert "keruta_agent.server.store.artifacts.opening" in loaded
    assert "obstore" not in loaded


def test_bucket_that_is_missing_is_named(tmp_path: Path, bucket: Bucket) -> None:
    bucket.name = "no-such-bucket"
    with pytest.raises(errors.AgentStateError, match=r"s3://no-such-bucket.*NoSuchBucket"):
        Store.open(tmp_path, None, bucket.location())


def test_server_starts_without_its_store_and_waits_for_it(
    tmp_path: Path,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(objects, "_READ_S", 0.3)
    monkeypatch.setattr(objects, "_RETRIES", 0)
    with bucket.server.standing_still():
        store = Store.open(tmp_path, None, bucket.location())
    with contextlib.closing(store):
        assert "cannot reach the artifact store" in caplog.text
        assert "TimedOut" in caplog.text
        wait_until(lambda: _is_ready(store), "the store is back")
