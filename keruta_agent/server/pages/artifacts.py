"""Pages of artifacts: files that scripts wrote, shown as far as that is safe."""

from __future__ import annotations

import flask

from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import missing
from keruta_agent.server.pages import difference, previews
from keruta_agent.server.pages.blueprint import pages
from keruta_agent.server.resources.artifacts import find as find_artifact
from keruta_agent.server.routes import current_store
from keruta_agent.server.store import session_rows, task_rows
from keruta_agent.server.store.store import Store


@pages.get("/tasks/<task_id>/artifacts/<artifact_id>")
def show_artifact(task_id: str, artifact_id: str) -> flask.Response:
    """Show an artifact as far as it can be shown safely."""
    store: Store = current_store()
    with store.database.connected():
        task = task_rows.to_task(task_rows.find(store.tables, task_id))
        session = session_rows.find(store.tables, task.session_id)
        row = find_artifact(store.tables, task_id, artifact_id)
    path = store.directory.artifact(row["id"])
    try:
        kind = previews.kind_of(path)
        text = previews.read_text(path) if kind == previews.TEXT else None
    except FileNotFoundError:
        raise missing("artifact", artifact_id) from None
    is_diff = text is not None and row["name"].endswith((".diff", ".patch"))
    return page_setup.page(
        "artifact.html",
        session=session,
        task=task,
        artifact=row,
        kind=kind,
        text=text,
        difference=list(difference.marked_lines(text.text)) if text and is_diff else [],
    )


@pages.get("/tasks/<task_id>/artifacts/<artifact_id>/content")
def artifact_content(task_id: str, artifact_id: str) -> flask.Response:
    """Return an artifact's bytes: of an image or PDF to be shown, of all others to be saved."""
    store: Store = current_store()
    with store.database.connected():
        row = find_artifact(store.tables, task_id, artifact_id)
    path = store.directory.artifact(row["id"])
    try:
        kind = previews.kind_of(path)
        is_shown = kind not in (None, previews.TEXT) and "save" not in flask.request.args
        response = flask.send_file(
            path,
            mimetype=kind if is_shown else "application/octet-stream",
            as_attachment=not is_shown,
            download_name=row["name"],
            etag=row["sha256"],
        )
    except FileNotFoundError:
        raise missing("artifact", artifact_id) from None
    response.headers["Content-Security-Policy"] = (
        previews.PDF_POLICY if is_shown and kind == previews.PDF else previews.POLICY
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["X-Frame-Options"] = "DENY"
    return response
