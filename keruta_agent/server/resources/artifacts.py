"""Routes of artifacts: files that a task leaves behind."""

from __future__ import annotations

import dataclasses
import re
from pathlib import PurePosixPath
from typing import Any

from marshmallow import Schema, fields

from keruta_agent.core import wire
from keruta_agent.http.bodies import repair_text
from keruta_agent.http.problems import invalid, missing
from keruta_agent.http.request import Request
from keruta_agent.http.responses import file_response
from keruta_agent.http.uploads import Destination, Form
from keruta_agent.server import paging
from keruta_agent.server.routes import Resource, store_of
from keruta_agent.server.store import tables as t
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.artifacts import files as artifact_files
from keruta_agent.server.store.ranges import Range
from keruta_agent.server.store.store import Change, Store
from keruta_agent.server.store.tables import Tables

resource = Resource("artifacts", "Files that tasks left behind")

_MAX_PATH = 1024
_MAX_NAME = 255

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
class _Described:
    """What a form says of its file."""

    name: str
    path: str
    description: str
    content_type: str


def _destination(request: Request, task_id: str) -> Destination:
    """Return where a task's artifact is received; refuse it at once if there is no such task."""
    store = store_of(request)
    with store.database.connected():
        task_rows.find(store.tables, task_id)
    return store.artifacts.destination()


def _described(form: Form) -> _Described:
    name = PurePosixPath(form.name.replace("\\", "/")).name
    if len(name) > _MAX_NAME:
        # It goes into a header of each download.
        raise invalid("file", f"its name has more than {_MAX_NAME} characters")
    path = _checked_path(form.fields.get("path") or name)
    return _Described(
        name=_CONTROL.sub("\ufffd", name) or PurePosixPath(path).name,
        path=path,
        description=repair_text(form.fields.get("description") or ""),
        content_type=form.media_type if _CONTENT_TYPE.match(form.media_type) else _UNKNOWN_TYPE,
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
    "/api/v1/tasks/{task_id}/artifacts",
    destination=_destination,
    answer=ArtifactAnswer,
    status=201,
    doc=_UPLOAD_DOC,
)
def store_artifact(change: Change, form: Form, task_id: str) -> Any:
    """Store a file with its size and SHA-256; ``sha256`` is compared if it is sent."""
    described = _described(form)
    task = task_rows.lock(change, task_id)
    row = {
        "id": form.file.id,
        "task": task["number"],
        "size": form.file.size,
        "sha256": form.file.sha256,
        "created_at": t.now(),
        **dataclasses.asdict(described),
    }
    change.tables.artifacts.insert(**row).execute()
    change.store.artifacts.keep(form.file)
    task_rows.announce(change, "task_update", task, artifactId=form.file.id)
    return _to_answer(row, task_id)


@resource.read(
    "/api/v1/tasks/{task_id}/artifacts",
    query=paging.PageQuery,
    answer=ArtifactAnswer(many=True),
    doc={"responses": {"200": {"headers": paging.HEADERS | paging.PRUNED_HEADER}}},
)
def list_artifacts(store: Store, query: dict[str, Any], task_id: str, *, request: Request) -> Any:
    """List a task's artifacts in the order of their arrival."""
    task = task_rows.find(store.tables, task_id)
    listing = Range(
        table="artifacts",
        prefix={"task": task["number"]},
        texts=("description",),
        newest_first=False,
    )
    response = paging.respond(request, listing, query, lambda row: _to_answer(row, task_id))
    if task["artifacts_pruned_at"] is not None:
        response.headers[paging.PRUNED] = t.date(task["artifacts_pruned_at"]) or ""
    return response


@resource.read("/api/v1/tasks/{task_id}/artifacts/{artifact_id}", answer=ArtifactAnswer)
def get_artifact(store: Store, task_id: str, artifact_id: str) -> Any:
    """Return what is known of an artifact."""
    return _to_answer(find(store.tables, task_id, artifact_id), task_id)


@resource.read(
    "/api/v1/tasks/{task_id}/artifacts/{artifact_id}/content",
    doc={"responses": {"200": {"content": {_UNKNOWN_TYPE: {}}}}},
)
def download_artifact(store: Store, task_id: str, artifact_id: str, *, request: Request) -> Any:
    """Return an artifact's bytes, to be saved rather than shown."""
    row = find(store.tables, task_id, artifact_id)
    try:
        return file_response(
            request,
            store.artifacts.content(row),
            media_type=row["content_type"],
            name=row["name"],
            sha256=row["sha256"],
            headers={"X-Content-Type-Options": "nosniff"},
        )
    except FileNotFoundError:
        raise missing("artifact", artifact_id) from None


@resource.write("DELETE", "/api/v1/tasks/{task_id}/artifacts/{artifact_id}", status=204)
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
        "createdAt": t.date(row["created_at"]),
    }
