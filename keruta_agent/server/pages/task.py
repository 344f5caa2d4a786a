"""A task's page: how it goes, what it asks, what it wrote, used and left behind, and its kin."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from keruta_agent.core import model
from keruta_agent.core.coding import log_groups
from keruta_agent.core.coding.model import Verification
from keruta_agent.http.bodies import repair_text
from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.server.pages import cards, difference, history, lineage
from keruta_agent.server.pages.charts import Chart, of_measurements
from keruta_agent.server.pages.group import pages
from keruta_agent.server.resources import claims
from keruta_agent.server.resources import input as input_routes
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import questions, session_rows, task_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Store
from keruta_agent.server.store.tables import Tables

#: Runs of which the resources are drawn, the newest.
_MOST_RUNS: Final = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunUsage:
    """What one run used."""

    number: object
    charts: Sequence[Chart]


@pages.get("/tasks/{task_id}")
def show_task(request: Request, task_id: str) -> Response:
    """Show a task."""
    store: Store = store_of(request)
    newest = cards.newest_event(store)  # before the rest: what comes later is heard
    with store.database.connected():
        row = task_rows.find(store.tables, task_id)
        steps = history.steps_of(store.tables, row)
        question = questions.newest(store, row["number"])
        is_open = question is not None and input_routes.is_open(question)
        parameters = t.from_json(row["parameters"])
        ended = model.TaskStatus(row["status"]).is_terminal
        values: dict[str, Any] = {
            "task": task_rows.to_task(row),
            "card": cards.card(row),
            "claim": None
            if ended or row["claimed_by"] is None
            else claims.in_words(store.tables, row),
            "session": session_rows.find(store.tables, row["session_id"]),
            "parameters": json.dumps(parameters, ensure_ascii=False, indent=2),
            "newest": newest,
            "question": question if is_open and not ended else None,
            "steps": steps[-history.MOST_STEPS :],
            "progress": history.progress_chart(steps, _end_of(row)),
            "runs": _usage(store.tables, row["number"]),
            "artifacts": _artifacts(store.tables, row["number"]),
            "log_pruned_at": t.date(row["log_pruned_at"]),
            "artifacts_pruned_at": t.date(row["artifacts_pruned_at"]),
            "lineage": lineage.tree_of(store.tables, row),
            # The whole log is searched for it: not again and again while it grows.
            "difference": list(difference.marked_lines(_changes(store.tables, row["number"])))
            if ended
            else [],
            "verification": _verification(store.tables, row["number"]) if ended else None,
        }
    return page_setup.page(request, "task.html", **values)


@pages.post("/tasks/{task_id}/answer")
def answer(request: Request, task_id: str) -> Response:
    """Answer the question that the page showed; another one is not answered by mistake."""
    store: Store = store_of(request)
    form = request.fields
    with store.writing() as change:
        task = task_rows.lock(change, task_id)
        asked = questions.newest(store, task["number"])
        if asked is None or str(asked["number"]) != form.get("question"):
            raise Problem(409, "NO_OPEN_PROMPT", "the script does not ask this any more")
        text = repair_text(form.get("answer", ""))
        input_routes.answer_input(change, {"input": text}, task_id)
    return page_setup.go_to(request, f"/tasks/{task_id}?done=answered")


def _end_of(row: dict[str, Any]) -> datetime:
    """Return when a task ended, or what time it is while it has not."""
    return t.from_microseconds(row["ended_at"] or t.now())


def _artifacts(tables: Tables, task_number: int) -> list[dict[str, Any]]:
    artifacts = tables.artifacts
    rows = artifacts.select().where(artifacts.task == task_number).order_by(artifacts.number)
    return list(rows.dicts())


def _usage(tables: Tables, task_number: int) -> list[RunUsage]:
    metrics = tables.metrics
    rows = metrics.select().where(metrics.task == task_number)
    found = []
    for row in rows.order_by(metrics.number.desc()).limit(_MOST_RUNS).dicts():
        measured = t.from_json(row["data"])
        charts = of_measurements(measured)
        if charts:
            found.append(RunUsage(number=measured.get("run", "?"), charts=charts))
    return found[::-1]


def _changes(tables: Tables, task_number: int) -> str:
    """Return what a coding task changed, as it printed it."""
    return "\n".join(_grouped(tables, task_number, log_groups.DIFF, difference.MOST_LINES))


def _verification(tables: Tables, task_number: int) -> Verification | None:
    """Return what a coding task said of its tests."""
    # Of a task that ran several times, the last run counts.
    most = log_groups.MOST_LINES
    lines = _grouped(tables, task_number, log_groups.VERIFICATION, most, newest=True)
    return log_groups.account_of(lines)


def _grouped(
    tables: Tables, task_number: int, group: str, most: int, *, newest: bool = False
) -> list[str]:
    """Return the lines of a group of a task's log, without its marks."""
    entries = tables.log_entries
    rows = (
        entries.select(entries.message)
        .where(
            (entries.task == task_number)
            & entries.metadata.contains(f'"group":"{group}"')
            & ~entries.message.startswith("::")
        )
        .order_by(entries.number.desc() if newest else entries.number)
        .limit(most)
    )
    lines = [row["message"] for row in rows.dicts()]
    return lines[::-1] if newest else lines
