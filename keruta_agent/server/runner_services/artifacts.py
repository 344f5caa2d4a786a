"""Routes of the Artifact Store: diffs, logs and test results, streamed, hashed, kept for a while.

Nothing is overwritten: each upload is an artifact of its own, also of the same task and type.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from marshmallow import Schema, fields, validate

from keruta_agent.http.bodies import check_free_json, repair_text, to_json
from keruta_agent.http.fields import FreeText, RequestSchema
from keruta_agent.http.problems import invalid, missing
from keruta_agent.http.request import Request
from keruta_agent.http.responses import file_response
from keruta_agent.http.uploads import Destination, Form
from keruta_agent.server.routes import Resource
from keruta_agent.server.runner_services.context import services_of
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.artifacts import files as artifact_files
from keruta_agent.server.store.store import Change, Store

resource = Resource("artifacts", "Diffs, logs and test results of tasks")

_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_BYTES: Final = "application/octet-stream"


class ArtifactAnswer(Schema):
    """What is known of an artifact. Times are seconds since 1970."""

    uri = fields.String(required=True)
    id = fields.String(required=True)
    type = fields.String(required=True)
    metadata = fields.Dict(required=True)
    size_bytes = fields.Integer(required=True)
    sha256 = fields.String(required=True)
    created_at = fields.Float(required=True)
    expires_at = fields.Float(
        required=True, allow_none=True, metadata={"description": "null: it is kept for ever."}
    )


class ArtifactsAnswer(Schema):
    """Some artifacts, in the order of their arrival."""

    artifacts = fields.List(fields.Nested(ArtifactAnswer), required=True)
    next = fields.Integer(required=True, allow_none=True)


class ArtifactsQuery(RequestSchema):
    """Which artifacts are wanted."""

    type = FreeText(load_default=None)
    task_id = FreeText(load_default=None)
    spec_name = FreeText(load_default=None)
    limit = fields.Integer(load_default=100, validate=validate.Range(min=1, max=1000))
    after = fields.Integer(load_default=0, validate=validate.Range(min=0, max=2**63 - 1))


class MetadataQuery(RequestSchema):
    """Which artifact is meant."""

    uri = fields.String(required=True, validate=validate.Length(min=1, max=8000))


def _destination(request: Request) -> Destination:
    services = services_of(request)
    return services.store.artifacts.destination(services.max_artifact_size)


def _type(text: str) -> str:
    if not _TYPE.match(text):
        raise invalid("type", "must be letters, digits, '.', '_' and '-', such as diff")
    return text


def _metadata(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        check_free_json(found)
    except (ValueError, RecursionError):
        raise invalid("metadata", "must be JSON, and not nested too deeply") from None
    if not isinstance(found, dict):
        raise invalid("metadata", "must be a JSON object")
    try:
        to_json(found)
    except ValueError:
        raise invalid("metadata", "holds a number that JSON does not have") from None
    return found


_FORM: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "type"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "type": {"type": "string"},
                        "metadata": {"type": "string", "description": "A JSON object."},
                        "sha256": {"type": "string"},
                    },
                }
            }
        },
    }
}


@resource.write(
    "POST", "/artifacts", destination=_destination, answer=ArtifactAnswer, status=201, doc=_FORM
)
def store_artifact(change: Change, form: Form, *, request: Request) -> Any:
    """Store a file; ``sha256`` is compared if it is sent."""
    file = form.file
    metadata = _metadata(form.fields.get("metadata") or "{}")
    row = {
        "id": file.id,
        "type": _type(form.fields.get("type") or ""),
        "metadata": to_json(metadata),
        "spec_name": _word(metadata.get("spec_name")),
        "task_id": _word(metadata.get("task_id")),
        "size": file.size,
        "sha256": file.sha256,
        "created_at": change.store.database.now(),
    }
    change.tables.runner_artifacts.insert(**row).execute()
    change.store.artifacts.keep(file)
    return _to_answer(request, row)


def _word(value: object) -> str:
    return repair_text(value) if isinstance(value, str) else ""


@resource.read("/artifacts", answer=ArtifactsAnswer, query=ArtifactsQuery)
def list_artifacts(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List artifacts."""
    artifacts = store.tables.runner_artifacts
    found = artifacts.select().where(artifacts.number > query["after"])
    for name in ("type", "task_id", "spec_name"):
        if query[name] is not None:
            found = found.where(getattr(artifacts, name) == query[name])
    rows = list(found.order_by(artifacts.number).limit(query["limit"] + 1).dicts())
    shown = rows[: query["limit"]]
    return {
        "artifacts": [_to_answer(request, row) for row in shown],
        "next": shown[-1]["number"] if len(rows) > len(shown) else None,
    }


@resource.read("/artifacts/metadata", answer=ArtifactAnswer, query=MetadataQuery)
def get_metadata(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """Return what is known of the artifact behind a URI."""
    try:
        path = unquote(urlsplit(query["uri"]).path)
    except ValueError:
        raise invalid("uri", "is no URI") from None
    # The host may have several names; the id is the same at each.
    folder, _, artifact_id = path.rpartition("/")
    if not folder.endswith("/artifacts") or "\0" in artifact_id:
        raise missing("artifact", query["uri"], key="uri")
    return _to_answer(request, _find(store, artifact_id))


@resource.read("/artifacts/{artifact_id}", doc={"responses": {"200": {"content": {_BYTES: {}}}}})
def download_artifact(store: Store, artifact_id: str, *, request: Request) -> Any:
    """Return an artifact's bytes, to be saved rather than shown."""
    row = _find(store, artifact_id)
    digest = base64.b64encode(bytes.fromhex(row["sha256"])).decode()
    try:
        return file_response(
            request,
            store.artifacts.content(row),
            media_type=_BYTES,
            name=f"{row['type']}-{row['id']}",
            sha256=row["sha256"],
            headers={
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "sandbox; default-src 'none'",
                "Repr-Digest": f"sha-256=:{digest}:",
            },
        )
    except FileNotFoundError:
        raise missing("artifact", artifact_id) from None


@resource.write("DELETE", "/artifacts/{artifact_id}", status=204)
def delete_artifact(change: Change, artifact_id: str) -> None:
    """Delete an artifact."""
    row = _find(change.store, artifact_id)
    artifacts = change.tables.runner_artifacts
    artifacts.delete().where(artifacts.number == row["number"]).execute()
    artifact_files.remove(change, [row["id"]])


def _find(store: Store, artifact_id: str) -> dict[str, Any]:
    artifacts = store.tables.runner_artifacts
    row: dict[str, Any] | None = artifacts.select().where(artifacts.id == artifact_id).dicts().get()
    if row is None:
        raise missing("artifact", artifact_id)
    return row


def _to_answer(request: Request, row: dict[str, Any]) -> dict[str, Any]:
    return {
        # By the name under which the client reached the store, so that it reaches it again.
        "uri": f"{request.origin}/artifacts/{row['id']}",
        "id": row["id"],
        "type": row["type"],
        "metadata": t.from_json(row["metadata"]),
        "size_bytes": row["size"],
        "sha256": row["sha256"],
        "created_at": row["created_at"] / 1e6,
        "expires_at": services_of(request).retention.expires_at(row),
    }
