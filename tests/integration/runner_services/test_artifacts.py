"""Evidence goes into the store and comes out of it unharmed, and nothing else does."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.runner import ArtifactStoreClient, ArtifactType
from keruta_agent.server.runner_services.serve import STORE
from keruta_agent.server.store.store import Store
from tests.helpers.databases import url_of
from tests.helpers.runner_services import Around, runner_services
from tests.helpers.waiting import wait_until


@pytest.mark.parametrize("content", [b"", b"diff content", bytes(range(256)) * 3000])
def test_upload_comes_back_as_it_was(around: Around, content: bytes) -> None:
    uri = around.store.upload("diff", content, {"task_id": "1.1", "title": "データ"})

    assert around.store.download(uri) == content
    metadata = around.store.get_metadata(uri)
    assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
    assert (metadata["type"], metadata["size_bytes"]) == ("diff", len(content))
    assert metadata["metadata"] == {"task_id": "1.1", "title": "データ"}
    days = (metadata["expires_at"] - metadata["created_at"]) / 86400
    assert days == pytest.approx(30)


def test_text_and_files_are_uploaded(around: Around, tmp_path: Path) -> None:
    file = tmp_path / "大きい.log"
    file.write_bytes(b"line\n" * 50_000)
    target = tmp_path / "back"

    text_uri = around.store.upload_text(ArtifactType.LOG, "こんにちは\ud800")
    around.store.download_to(around.store.upload(ArtifactType.LOG, file), target)

    assert around.store.download_text(text_uri) == "こんにちは?"
    assert target.read_bytes() == file.read_bytes()


def test_same_task_and_type_keeps_every_version(around: Around) -> None:
    metadata = {"task_id": "v.1", "spec_name": "chat"}
    uris = [around.store.upload("test", text, metadata) for text in (b"1", b"2")]

    listed = requests.get(
        f"{around.urls[STORE]}/artifacts", params={"task_id": "v.1"}, timeout=10
    ).json()["artifacts"]

    assert [one["uri"] for one in listed] == uris
    assert [around.store.download(uri) for uri in uris] == [b"1", b"2"]


def test_download_is_saved_and_never_shown(around: Around) -> None:
    uri = around.store.upload("diff", b"<script>alert(1)</script>")

    headers = requests.get(uri, timeout=10).headers

    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/artifacts/1",
        "file:///etc/passwd",
        "s3://bucket/artifacts/1",
        "{base}/artifacts/../health",
        "{base}/health",
        "{base}@example.com/artifacts/1",
        "//example.com/artifacts/1",
        "http://[/artifacts/1",
        "",
    ],
)
def test_download_goes_nowhere_but_to_the_store(around: Around, uri: str) -> None:
    with pytest.raises(errors.SecurityError, match="Failed to download"):
        around.store.download(uri.format(base=around.store.base_url))


def test_download_of_what_is_not_there_says_so(around: Around) -> None:
    with pytest.raises(errors.ServiceError, match="ARTIFACT_NOT_FOUND"):
        around.store.download(f"{around.store.base_url}/artifacts/nothing")
    with pytest.raises(errors.ServiceError, match="Failed to get the metadata"):
        around.store.get_metadata("s3://bucket/nothing")


def test_uri_with_another_name_of_this_machine_is_the_stores_own(around: Around) -> None:
    uri = around.store.upload("diff", b"x")

    with ArtifactStoreClient(around.store.base_url.replace("127.0.0.1", "localhost")) as client:
        assert client.download(uri) == b"x"


def test_damaged_artifact_is_not_handed_out_as_whole(tmp_path: Path) -> None:
    class Never:
        max_retries = 0

        def get_delay(self, attempt: int) -> float:
            return 0.0

    with runner_services(tmp_path) as around:
        uri = around.store.upload("diff", b"right")
        stored = tmp_path / "artifacts" / uri.rpartition("/")[2]
        stored.write_bytes(b"wrong")
        with (
            ArtifactStoreClient(around.store.base_url, retry_config=Never()) as client,
            pytest.raises(errors.ServiceError, match="damaged"),
        ):
            client.download(uri)


def test_artifacts_are_kept_as_long_as_their_type_says(tmp_path: Path) -> None:
    with runner_services(tmp_path) as around:
        uris = {kind: around.store.upload(kind, b"x") for kind in ("diff", "log", "other")}
    # Not by another clock: where servers share a database, it is the database's that counts.
    with contextlib.closing(Store.open(tmp_path, url_of(tmp_path))) as store:
        kept = store.tables.runner_artifacts
        with store.writing():
            kept.update(created_at=kept.created_at - 8 * 24 * 3600 * 1_000_000).execute()
    with runner_services(tmp_path) as around:
        removed = tmp_path / "artifacts" / uris["log"].rpartition("/")[2]
        wait_until(lambda: not removed.exists(), "the log is removed")
        left = requests.get(f"{around.urls[STORE]}/artifacts", timeout=10).json()["artifacts"]

    assert {one["type"] for one in left} == {"diff", "other"}
    files = {path.name for path in (tmp_path / "artifacts").iterdir()}
    assert files == {uris[kind].rpartition("/")[2] for kind in ("diff", "other")}


def test_too_large_upload_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with runner_services(tmp_path, max_artifact_size=1000) as around:
        with pytest.raises(errors.ServiceError, match="ARTIFACT_TOO_LARGE"):
            around.store.upload("log", b"x" * 1001)
        assert around.store.download(around.store.upload("log", b"x" * 1000)) == b"x" * 1000
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"metadata": "{}"}, "type"),
        ({"type": "../x"}, "type"),
        ({"type": "diff", "metadata": "nonsense"}, "metadata"),
        ({"type": "diff", "metadata": "[1]"}, "metadata"),
        ({"type": "diff", "metadata": '{"a": NaN}'}, "metadata"),
        ({"type": "diff", "metadata": "[" * 100_000}, "metadata"),
        ({"type": "diff", "sha256": "0" * 64}, "sha256"),
    ],
)
def test_bad_upload_is_refused_with_the_field_that_is_wrong(
    around: Around, fields: dict[str, str], field: str
) -> None:
    response = requests.post(
        f"{around.urls[STORE]}/artifacts", data=fields, files={"file": b"x"}, timeout=10
    )

    assert response.status_code == 400, response.text
    assert response.json()["error"]["field"] == field


def test_upload_without_a_file_is_refused(around: Around) -> None:
    response = requests.post(
        f"{around.urls[STORE]}/artifacts", data=json.dumps({"type": "diff"}), timeout=10
    )

    assert response.status_code == 400
    assert response.json()["error"]["field"] == "file"


def test_deleted_artifact_is_gone(around: Around) -> None:
    uri = around.store.upload("diff", b"x")

    assert requests.delete(uri, timeout=10).status_code == 204
    assert requests.get(uri, timeout=10).status_code == 404
