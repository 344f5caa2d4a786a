"""Routes by which a script asks a person and the person answers."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from keruta_agent.core import wire
from keruta_agent.core.model import TaskStatus
from keruta_agent.http.fields import FreeText, RequestSchema
from keruta_agent.http.problems import conflict
from keruta_agent.http.request import Request
from keruta_agent.http.routes import Answer
from keruta_agent.server.routes import Resource
from keruta_agent.server.store import questions, task_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Change, Store

resource = Resource("input", "Questions of running scripts, and people's answers")

#: Nothing yet. Clients of other servers take 404 for a missing route.
_NOTHING_YET = Answer(body=None, status=204)

_REQUEST_ID = {
    "in": "query",
    "name": "requestId",
    "description": "The question that is meant, by the id that its request was answered with.",
    "schema": {"type": "string"},
}


class PromptDraft(RequestSchema):
    """What the script asks."""

    prompt = FreeText(load_default="")
    secret = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether the answer is not to be shown, nor stored."},
    )


class InputDraft(RequestSchema):
    """The answer; a missing line end is added."""

    input = FreeText(required=True)


class PromptAnswer(Schema):
    """A question, open or answered."""

    id = fields.String(required=True)
    task_id = fields.String(required=True, data_key="taskId")
    prompt = fields.String(required=True)
    secret = fields.Boolean(required=True)
    answered = fields.Boolean(required=True)
    open = fields.Boolean(
        required=True, metadata={"description": "Whether an answer is wanted now."}
    )
    created_at = wire.AnyDate(required=True, data_key="createdAt")


class InputAnswer(Schema):
    """A person's answer, with its line end."""

    input = fields.String(required=True)


@resource.write(
    "POST",
    "/api/v1/tasks/{task_id}/input-request",
    body=PromptDraft,
    answer=PromptAnswer,
    status=201,
)
def request_input(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Store a script's question; an older one of the task is void."""
    task = _running(change, task_id, "prompt")
    row = questions.ask(change, task["number"], draft["prompt"], secret=draft["secret"])
    task_rows.announce(change, "task_update", task, prompt=draft["prompt"])
    return _to_answer(row, task_id)


@resource.read("/api/v1/tasks/{task_id}/input-request", answer=PromptAnswer, also=(204, None))
def get_input_request(store: Store, task_id: str) -> Any:
    """Return the task's newest question; 204 when it never asked."""
    row = questions.newest(store, task_rows.find(store.tables, task_id)["number"])
    return _NOTHING_YET if row is None else _to_answer(row, task_id)


@resource.write(
    "GET",
    "/api/v1/tasks/{task_id}/input",
    answer=InputAnswer,
    also=(204, None),
    doc={"parameters": [_REQUEST_ID]},
)
def take_input(change: Change, task_id: str, *, request: Request) -> Any:
    """Return the answer to the newest question, once; 204 while there is none.

    With ``requestId`` it is the answer to that question, as often as it is asked for until the
    script goes on: one that was lost on its way is not lost.
    """
    row = questions.newest(change.store, task_rows.lock(change, task_id)["number"])
    if row is None or row["answer"] is None or row["delivered_at"] is not None:
        return _NOTHING_YET
    asked = request.query_params.get("requestId")
    if asked is not None:
        return {"input": row["answer"]} if asked == str(row["number"]) else _NOTHING_YET
    if request.method != "HEAD":  # its answer has no body: the input would be lost
        questions.deliver(change, row)
    return {"input": row["answer"]}


@resource.write("POST", "/api/v1/tasks/{task_id}/input", body=InputDraft, answer=PromptAnswer)
def answer_input(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Answer the task's open question."""
    task = _running(change, task_id, "input")
    row = questions.newest(change.store, task["number"])
    if row is None or not is_open(row):
        raise conflict("NO_OPEN_PROMPT", f"task {task_id} asks for nothing", field="input")
    text = draft["input"]
    if not text.endswith("\n"):
        text += "\n"
    answered = questions.answer(change, row, text)
    task_rows.announce(change, "task_update", task, inputAvailable=True)
    return _to_answer(answered, task_id)


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


def is_open(row: dict[str, Any]) -> bool:
    """Return whether a question still wants an answer."""
    return row["answer"] is None and row["delivered_at"] is None


def _to_answer(row: dict[str, Any], task_id: str) -> dict[str, Any]:
    return {
        "id": str(row["number"]),
        "taskId": task_id,
        "prompt": row["prompt"],
        "secret": bool(row["secret"]),
        "answered": row["answer"] is not None,
        "open": is_open(row),
        "createdAt": t.date(row["created_at"]),
    }
