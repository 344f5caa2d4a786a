"""A task's page."""

from __future__ import annotations

import json

import flask

from keruta_agent.server import session_rows, task_rows
from keruta_agent.server import tables as t
from keruta_agent.server.pages import cards
from keruta_agent.server.pages.blueprint import pages
from keruta_agent.server.routes import current_store
from keruta_agent.web.pages import look

#: Log lines on the page.
_LINES = 500


@pages.get("/tasks/<task_id>")
def show_task(task_id: str) -> flask.Response:
    """Shows a task: what it is to do, how far it is, and the end of its log."""
    store = current_store()
    newest = cards.newest_event(store)
    with store.database.connected():
        row = task_rows.find(store.tables, task_id)
        tasks, entries = store.tables.tasks, store.tables.log_entries
        children = tasks.select().where(tasks.parent_task_id == task_id).order_by(tasks.number)
        log = entries.select().where(entries.task == row["number"])
        lines = list(log.order_by(entries.number.desc()).limit(_LINES).dicts())
        return look.page(
            "task.html",
            task=cards.card(row),
            row=row,
            session=session_rows.find(store.tables, row["session_id"]),
            parameters=json.dumps(t.from_json(row["parameters"]), ensure_ascii=False, indent=2),
            children=[cards.card(child) for child in children.dicts()],
            log="\n".join(line["message"] for line in reversed(lines)),
            newest=newest,
        )
