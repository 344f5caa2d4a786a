"""Routes by which a script asks a person and the person answers (contract 3.9, 11)."""

from __future__ import annotations

from typing import Any

import flask
from marshmallow import Schema, fields

from keruta_agent import wire
from keruta_agent.model import TaskStatus
from keruta_agent.server import tables as t
from keruta_agent.server import task_rows
from keruta_agent.server.problems import conflict
from keruta_agent.server.routes import Answer, Resource
from keruta_agent.server.schemas import FreeText, Request
from keruta_agent.server.store import Change, Store
from keruta_agent.server.tables import Tables

resource = Resource("input", "Questions of running scripts, and people's answers")

#: Nothing yet. Clients of other servers take 404 for a missing route (contract 5).
_NOTHING_YET = Answer(body=None, status=204)


class PromptDraft(Request):
    """What the script asks."""

    prompt = FreeText(load_default="")


class InputDraft(Request):
    """The answer; a missing line end is added."""

    input = FreeText(required=True)


class PromptAnswer(Schema):
    """A question, open or answered."""

    id = fields.String(required=True)
    task_id = fields.String(required=True, data_key="taskId")
    prompt = fields.String(required=True)
    answered = fields.Boolean(required=True)
    created_at = wire.AnyDate(required=True, data_key="createdAt")


class InputAnswer(Schema):
    """A person's answer, with its line end."""

    input = fields.String(required=True)


@resource.write(
    "POST",
    "/api/v1/tasks/<task_id>/input-request",
    body=PromptDraft,
    answer=PromptAnswer,
    status=201,
)
def request_input(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Says that the script waits for an answer; an older question of the task is void."""
    task = _running(change, task_id, "prompt")
    row = {"task": task["number"], "prompt": draft["prompt"], "created_at": t.now()}
    number = change.tables.input_requests.insert(**row).execute()
    task_rows.announce(change, "task_update", task, prompt=draft["prompt"])
    return _to_answer(row | {"number": number, "answer": None}, task_id)


@resource.read("/api/v1/tasks/<task_id>/input-request", answer=PromptAnswer, also=(204, None))
def get_input_request(store: Store, task_id: str) -> Any:
    """Returns the task's newest question; 204 when it never asked."""
    row = _newest(store.tables, task_rows.find(store.tables, task_id)["number"])
    return _NOTHING_YET if row is None else _to_answer(row, task_id)


@resource.write("GET", "/api/v1/tasks/<task_id>/input", answer=InputAnswer, also=(204, None))
def take_input(change: Change, task_id: str) -> Any:
    """Returns the answer to the newest question, once; 204 while there is none."""
    row = _newest(change.tables, task_rows.lock(change, task_id)["number"])
    if row is None or row["answer"] is None or row["delivered_at"] is not None:
        return _NOTHING_YET
    if flask.request.method == "HEAD":
        # Its answer has no body: the input would be lost.
        return {"input": row["answer"]}
    requests = change.tables.input_requests
    requests.update(delivered_at=t.now()).where(requests.number == row["number"]).execute()
    return {"input": row["answer"]}


@resource.write("POST", "/api/v1/tasks/<task_id>/input", body=InputDraft, answer=PromptAnswer)
def answer_input(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Answers the task's open question."""
    task = _running(change, task_id, "input")
    row = _newest(change.tables, task["number"])
    if row is None or row["answer"] is not None:
        raise conflict("NO_OPEN_PROMPT", f"task {task_id} asks for nothing", field="input")
    text = draft["input"]
    if not text.endswith("\n"):
        text += "\n"
    requests = change.tables.input_requests
    requests.update(answer=text, answered_at=t.now()).where(
        requests.number == row["number"]
    ).execute()
    task_rows.announce(change, "task_update", task, inputAvailable=True)
    return _to_answer(row | {"answer": text}, task_id)


def _running(change: Change, task_id: str, field: str) -> dict[str, Any]:
    task = task_rows.lock(change, task_id)
    if TaskStatus(task["status"]).is_terminal:
        raise conflict(
            "TASK_ENDED",
            f"task {task_id} is {task['status']} and reads nothing any more",
            field=field,
            current=task["status"],
        )
    return task


def _newest(tables: Tables, task_number: int) -> dict[str, Any] | None:
    requests = tables.input_requests
    mine = requests.select().where(requests.task == task_number)
    row: dict[str, Any] | None = mine.order_by(requests.number.desc()).limit(1).dicts().get()
    return row


def _to_answer(row: dict[str, Any], task_id: str) -> dict[str, Any]:
    return {
        "id": str(row["number"]),
        "taskId": task_id,
        "prompt": row["prompt"],
        "answered": row["answer"] is not None,
        "createdAt": wire.format_date(t.from_microseconds(row["created_at"])),
    }
