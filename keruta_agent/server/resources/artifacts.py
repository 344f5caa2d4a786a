"""Routes of artifacts: files that a task leaves behind."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import flask
from marshmallow import Schema, fields
from werkzeug.datastructures import FileStorage

from keruta_agent.core import wire
from keruta_agent.http.bodies import repair_text
from keruta_agent.http.problems import invalid, missing
from keruta_agent.server.routes import Resource
from keruta_agent.server.store import artifact_files, task_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Change, Store
from keruta_agent.server.store.tables import Tables
from keruta_agent.server.uploads import IncomingFile, received

resource = Resource("artifacts", "Files that tasks left behind")

_MAX_PATH = 1024

_CONTENT_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_UNKNOWN_TYPE = "application/octet-stream"


class ArtifactAnswer(Schema):
    """What is known of an artifact."""

    id = fields.String(required=True)
    task_id = fields.String(required=True, data_key="taskId")
    name = fields.String(required=True)
    path = fields.String(required=True)
    description = fields.String(required=True)
    content_type = fields.String(required=True, data_key="contentType")
    size = fields.Integer(required=True)
    sha256 = fields.String(required=True)
    created_at = wire.AnyDate(required=True, data_key="createdAt")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Upload:
    """A complete upload, not yet in its place."""

    file: IncomingFile
    name: str
    path: str
    description: str
    content_type: str


@contextlib.contextmanager
def _receive(store: Store, task_id: str) -> Iterator[_Upload]:
    """Stream the form's file to disk, and remove it again if it is not kept."""
    with store.database.connected():
        task_rows.find(store.tables, task_id)
    with received(store.directory.incoming) as (file, part, form):
        yield _checked_upload(file, part, form)


def _checked_upload(file: IncomingFile, part: FileStorage, form: Mapping[str, str]) -> _Upload:
    name = PurePosixPath((part.filename or "").replace("\\", "/")).name
    path = _checked_path(form.get("path") or name)
    return _Upload(
        file=file,
        name=_CONTROL.sub("\ufffd", name) or PurePosixPath(path).name,
        path=path,
        description=repair_text(form.get("description") or ""),
        content_type=part.mimetype if _CONTENT_TYPE.match(part.mimetype) else _UNKNOWN_TYPE,
    )


def _checked_path(path: str) -> str:
    """Return a relative path as it is stored; it is only ever shown."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise invalid("path", "must be a relative path with forward slashes and without '..'")
    if _CONTROL.search(path) or len(path) > _MAX_PATH:
        raise invalid("path", f"must have no control characters and at most {_MAX_PATH} in all")
    return str(PurePosixPath(*parts))


_UPLOAD_DOC = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "description": {"type": "string"},
                        "path": {"type": "string"},
                        "sha256": {"type": "string"},
                    },
                }
            }
        },
    }
}


@resource.write(
    "POST",
    "/api/v1/tasks/<task_id>/artifacts",
    receive=_receive,
    answer=ArtifactAnswer,
    status=201,
    doc=_UPLOAD_DOC,
)
def store_artifact(change: Change, upload: _Upload, task_id: str) -> Any:
    """Store a file with its size and SHA-256; ``sha256`` is compared if it is sent."""
    task = task_rows.lock(change, task_id)
    row = {
        "id": upload.file.id,
        "task": task["number"],
        "name": upload.name,
        "path": upload.path,
        "description": upload.description,
        "content_type": upload.content_type,
        "size": upload.file.size,
        "sha256": upload.file.sha256,
        "created_at": t.now(),
    }
    change.tables.artifacts.insert(**row).execute()
    # Before the commit: a row without a file would be a lie, a file without a row is swept.
    upload.file.keep(change.store.directory.artifacts)
    task_rows.announce(change, "task_update", task, artifactId=upload.file.id)
    return _to_answer(row, task_id)


@resource.read("/api/v1/tasks/<task_id>/artifacts", answer=ArtifactAnswer(many=True))
def list_artifacts(store: Store, task_id: str) -> Any:
    """List a task's artifacts in the order of their arrival."""
    task = task_rows.find(store.tables, task_id)
    artifacts = store.tables.artifacts
    rows = artifacts.select().where(artifacts.task == task["number"]).order_by(artifacts.number)
    return [_to_answer(row, task_id) for row in rows.dicts()]


@resource.read("/api/v1/tasks/<task_id>/artifacts/<artifact_id>", answer=ArtifactAnswer)
def get_artifact(store: Store, task_id: str, artifact_id: str) -> Any:
    """Return what is known of an artifact."""
    return _to_answer(find(store.tables, task_id, artifact_id), task_id)


@resource.read(
    "/api/v1/tasks/<task_id>/artifacts/<artifact_id>/content",
    doc={"responses": {"200": {"content": {_UNKNOWN_TYPE: {}}}}},
)
def download_artifact(store: Store, task_id: str, artifact_id: str) -> Any:
    """Return an artifact's bytes, to be saved rather than shown."""
    row = find(store.tables, task_id, artifact_id)
    try:
        response = flask.send_file(
            store.directory.artifact(row["id"]),
            mimetype=row["content_type"],
            as_attachment=True,
            download_name=row["name"],
            etag=row["sha256"],
        )
    except FileNotFoundError:
        raise missing("artifact", artifact_id) from None
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@resource.write("DELETE", "/api/v1/tasks/<task_id>/artifacts/<artifact_id>", status=204)
def delete_artifact(change: Change, task_id: str, artifact_id: str) -> None:
    """Delete an artifact."""
    task_rows.lock(change, task_id)
    row = find(change.tables, task_id, artifact_id)
    artifacts = change.tables.artifacts
    artifacts.delete().where(artifacts.number == row["number"]).execute()
    artifact_files.remove(change, [row["id"]])


def find(tables: Tables, task_id: str, artifact_id: str) -> dict[str, Any]:
    """Return the row of a task's artifact.

    Raises:
        Problem: there is none (404).
    """
    task = task_rows.find(tables, task_id)
    mine = (tables.artifacts.id == artifact_id) & (tables.artifacts.task == task["number"])
    row: dict[str, Any] | None = tables.artifacts.select().where(mine).dicts().get()
    if row is None:
        raise missing("artifact", artifact_id)
    return row


def _to_answer(row: dict[str, Any], task_id: str) -> dict[str, Any]:
    return {
        "id": row["id"],
        "taskId": task_id,
        "name": row["name"],
        "path": row["path"],
        "description": row["description"],
        "contentType": row["content_type"],
        "size": row["size"],
        "sha256": row["sha256"],
        "createdAt": wire.format_date(t.from_microseconds(row["created_at"])),
    }
