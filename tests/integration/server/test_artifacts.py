"""Artifacts over the API."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.asgi_client import Answer

CONTENT = bytes(range(256)) * 1000


def _upload(
    api: ApiCaller,
    task: str,
    content: bytes = CONTENT,
    *,
    filename: str = "a.bin",
    content_type: str = "application/x-thing",
    key: str = "",
    **form: str,
) -> Answer:
    return api.call(
        "POST",
        f"/tasks/{task}/artifacts",
        data=form,
        files={"file": (filename, content, content_type)},
        headers={"Idempotency-Key": key} if key else {},
    )


def _files(store: Store) -> set[Path]:
    return {*store.directory.artifacts.iterdir(), *store.directory.incoming.iterdir()}


def test_artifact_is_stored_with_size_and_hash_and_comes_back(api: ApiCaller) -> None:
    task = api.task()["id"]
    response = _upload(api, task, path="sub/dir/a.bin", description="結果")
    assert response.status_code == 201
    stored = response.json()
    assert stored["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (stored["size"], stored["name"]) == (len(CONTENT), "a.bin")
    assert (stored["path"], stored["description"]) == ("sub/dir/a.bin", "結果")
    assert stored["contentType"] == "application/x-thing"
    assert api.get(f"/tasks/{task}/artifacts") == [stored]
    assert api.get(f"/tasks/{task}/artifacts/{stored['id']}") == stored
    download = api.call("GET", f"/tasks/{task}/artifacts/{stored['id']}/content")
    assert download.content == CONTENT
    assert download.content_type == "application/x-thing"


def test_artifact_is_downloaded_rather_than_shown(api: ApiCaller) -> None:
    task = api.task()["id"]
    stored = _upload(api, task, b"<script>", filename="日本.html", content_type="text/html").json()
    download = api.call("GET", f"/tasks/{task}/artifacts/{stored['id']}/content")
    assert download.headers["Content-Disposition"].startswith("attachment;")
    assert download.headers["X-Content-Type-Options"] == "nosniff"


def test_empty_artifact_is_stored(api: ApiCaller) -> None:
    assert _upload(api, api.task()["id"], b"").json()["size"] == 0


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("日本語 名.txt", "日本語 名.txt"),
    ],
)
def test_artifact_name_is_the_last_part_only(
    api: ApiCaller, store: Store, filename: str, name: str
) -> None:
    before = _files(store)
    stored = _upload(api, api.task()["id"], filename=filename).json()
    assert (stored["name"], stored["path"]) == (name, name)
    assert _files(store) - before == {store.directory.artifacts / stored["id"]}


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "x\ny", "a" * 2000])
def test_artifact_path_that_leads_elsewhere_is_refused(
    api: ApiCaller, store: Store, path: str
) -> None:
    before = _files(store)
    response = _upload(api, api.task()["id"], path=path)
    assert response.status_code == 400
    assert response.json()["error"]["field"] == "path"
    assert _files(store) == before


def test_artifact_with_another_hash_than_announced_is_refused(api: ApiCaller, store: Store) -> None:
    before = _files(store)
    task = api.task()["id"]
    response = _upload(api, task, sha256="0" * 64)
    assert response.json()["error"]["field"] == "sha256"
    assert _files(store) == before
    good = hashlib.sha256(CONTENT).hexdigest()
    assert _upload(api, task, sha256=good.upper()).status_code == 201


@pytest.mark.parametrize("content_type", ["nonsense", "text/html; charset=x", "a/b/c", ""])
def test_artifact_content_type_is_one_or_none(api: ApiCaller, content_type: str) -> None:
    stored = _upload(api, api.task()["id"], content_type=content_type).json()
    assert stored["contentType"] in {"text/html", "application/octet-stream"}


@pytest.mark.parametrize(
    "request_body",
    [
        {"data": {"description": "no file"}},
        {"json": {"path": "x"}},
        {"data": b"--B\r\nnonsense", "content_type": "multipart/form-data; boundary=B"},
        {"data": b"", "content_type": "multipart/form-data"},
        {
            "data": b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nabc',
            "content_type": "multipart/form-data; boundary=B",
        },
    ],
)
def test_artifact_form_without_a_whole_file_is_refused(
    api: ApiCaller, store: Store, request_body: dict[str, Any]
) -> None:
    before = _files(store)
    task = api.task()["id"]
    response = api.call("POST", f"/tasks/{task}/artifacts", **request_body)
    assert response.status_code == 400
    assert response.json()["error"]["field"] == "file"
    assert _files(store) == before
    assert api.get(f"/tasks/{task}/artifacts") == []


def test_artifact_repeated_under_its_key_is_stored_once(api: ApiCaller, store: Store) -> None:
    task = api.task()["id"]
    first = _upload(api, task, key="upload-1")
    files = _files(store)
    again = _upload(api, task, key="upload-1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert _files(store) == files
    assert len(api.get(f"/tasks/{task}/artifacts")) == 1


def test_deleted_artifact_leaves_no_file(api: ApiCaller, store: Store) -> None:
    task = api.task()["id"]
    stored = _upload(api, task).json()
    path = f"/tasks/{task}/artifacts/{stored['id']}"
    assert api.call("DELETE", path).status_code == 204
    assert not (store.directory.artifacts / stored["id"]).exists()
    for suffix in ("", "/content"):
        error = api.error("GET", path + suffix, None, 404)
        assert error["code"] == "ARTIFACT_NOT_FOUND"


@pytest.mark.parametrize("what", ["tasks", "sessions"])
def test_deleted_owner_takes_the_artifact_files_along(
    api: ApiCaller, store: Store, what: str
) -> None:
    task = api.task()
    stored = _upload(api, task["id"]).json()
    owner = task["id"] if what == "tasks" else task["sessionId"]
    assert api.call("DELETE", f"/{what}/{owner}").status_code == 204
    assert not (store.directory.artifacts / stored["id"]).exists()


def test_artifact_of_another_task_is_missing(api: ApiCaller) -> None:
    stored = _upload(api, api.task()["id"]).json()
    other = api.task()["id"]
    answer = api.call("GET", f"/tasks/{other}/artifacts/{stored['id']}")
    assert answer.status_code == 404


def test_artifact_for_unknown_task_is_refused(api: ApiCaller) -> None:
    response = _upload(api, "unknown")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "TASK_NOT_FOUND")


def test_artifact_files_are_private(api: ApiCaller, store: Store) -> None:
    stored = _upload(api, api.task()["id"]).json()
    assert (store.directory.artifacts / stored["id"]).stat().st_mode & 0o777 == 0o600
    assert store.directory.artifacts.stat().st_mode & 0o777 == 0o700


def test_file_has_a_name_that_fits_into_a_header(api: ApiCaller) -> None:
    task = api.task()["id"]
    longest = "ä" * 255
    kept = _upload(api, task, filename=longest)
    assert (kept.status_code, kept.json()["name"]) == (201, longest)
    content = api.call("GET", f"/tasks/{task}/artifacts/{kept.json()['id']}/content")
    assert content.content == CONTENT
    refused = _upload(api, task, filename=f"{longest}x", path="x")
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "file")
