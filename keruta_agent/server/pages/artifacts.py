"""Pages of artifacts: files that scripts wrote, shown as far as that is safe."""

from __future__ import annotations

from starlette.responses import Response

from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import missing
from keruta_agent.http.request import Request
from keruta_agent.http.responses import file_response
from keruta_agent.server.pages import difference, previews
from keruta_agent.server.pages.group import pages
from keruta_agent.server.resources.artifacts import find as find_artifact
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import session_rows, task_rows
from keruta_agent.server.store.store import Store


@pages.get("/tasks/{task_id}/artifacts/{artifact_id}", waits=True)
def show_artifact(request: Request, task_id: str, artifact_id: str) -> Response:
    """Show an artifact as far as it can be shown safely."""
    store: Store = store_of(request)
    with store.database.connected():
        task = task_rows.to_task(task_rows.find(store.tables, task_id))
        session = session_rows.find(store.tables, task.session_id)
        row = find_artifact(store.tables, task_id, artifact_id)
    try:
        beginning = store.artifacts.beginning(row, previews.MOST_TEXT + 1)
    except FileNotFoundError:
        raise missing("artifact", artifact_id) from None
    kind = previews.kind_of(beginning)
    text = previews.text_of(beginning) if kind == previews.TEXT else None
    is_diff = text is not None and row["name"].endswith((".diff", ".patch"))
    return page_setup.page(
        request,
        "artifact.html",
        session=session,
        task=task,
        artifact=row,
        kind=kind,
        text=text,
        difference=list(difference.marked_lines(text.text)) if text and is_diff else [],
    )


@pages.get("/tasks/{task_id}/artifacts/{artifact_id}/content", waits=True)
def artifact_content(request: Request, task_id: str, artifact_id: str) -> Response:
    """Return an artifact's bytes: of an image or PDF to be shown, of all others to be saved."""
    store: Store = store_of(request)
    with store.database.connected():
        row = find_artifact(store.tables, task_id, artifact_id)
    try:
        kind = previews.kind_of(store.artifacts.beginning(row, previews.HEAD))
        is_shown = kind not in (None, previews.TEXT) and "save" not in request.query_params
        is_pdf = is_shown and kind == previews.PDF
        return file_response(
            request,
            store.artifacts.content(row),
            media_type=kind if is_shown and kind else "application/octet-stream",
            name=row["name"],
            sha256=row["sha256"],
            inline=is_shown,
            headers={
                "Content-Security-Policy": previews.PDF_POLICY if is_pdf else previews.POLICY,
                "X-Content-Type-Options": "nosniff",
                "Cross-Origin-Resource-Policy": "same-origin",
                "X-Frame-Options": "DENY",
            },
        )
    except FileNotFoundError:
        raise missing("artifact", artifact_id) from None
