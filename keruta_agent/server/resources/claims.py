"""Claims: which agent may run a task, and in which run.

A claim has no end of its own. However long its agent is silent, the script may still run there:
only that agent's retry rule, or a person who releases the claim, has the task run again.
Status writes of clients that know no claims are accepted without one.
"""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from keruta_agent.core import wire
from keruta_agent.core.model import TaskStatus
from keruta_agent.http.fields import RequestSchema
from keruta_agent.http.problems import conflict, missing
from keruta_agent.server.resources import agents
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import Identifier, TaskAnswer
from keruta_agent.server.store import tables as t
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.store import Change, Store
from keruta_agent.server.store.tables import Tables

resource = Resource("claims", "Which agent runs a task")


class ClaimDraft(RequestSchema):
    """An agent that is about to run a task."""

    agent = Identifier(required=True)
    instance = Identifier(required=True)
    run = Identifier(required=True)
    begun = fields.Boolean(
        load_default=False,
        metadata={"description": "It ran the task before this server knew claims."},
    )


class ClaimAnswer(Schema):
    """Who has a task."""

    task_id = fields.String(required=True, data_key="taskId")
    agent = fields.String(required=True)
    run = fields.String(required=True)
    claimed_at = wire.AnyDate(required=True, data_key="claimedAt")


class ClaimedAnswer(ClaimAnswer):
    """Who has a task, and the task with its script, so that nobody has to ask for them."""

    task = fields.Nested(TaskAnswer, required=True)


@resource.write(
    "POST", "/api/v1/tasks/{task_id}/claim", body=ClaimDraft, answer=ClaimedAnswer, keyed=False
)
def claim_task(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Claim a task for an agent's run; repeated by the same agent it is renewed."""
    row = task_rows.lock(change, task_id)
    known = agents.find(change.tables, draft["agent"])
    agents.refuse_copy(known, draft["instance"], change.tables.database.now())
    _refuse_ended(row)
    owner = row["claimed_by"]
    if owner is not None and owner != draft["agent"]:
        raise conflict(
            "CLAIMED",
            f"task {task_id} is claimed by {in_words(change.tables, row)}. {_way_out(row)}",
            field="agent",
            current=owner,
        )
    if owner is None and row["status"] != TaskStatus.PENDING and not draft["begun"]:
        raise conflict(
            "BEGUN",
            f"task {task_id} is {row['status']}: somebody without a claim has begun it",
            field="status",
            current=row["status"],
        )
    if (owner, row["claimed_run"]) != (draft["agent"], draft["run"]):
        values = {
            "claimed_by": draft["agent"],
            "claimed_run": draft["run"],
            "claimed_at": t.now(),
        }
        row = task_rows.update(change, row, values)
    return to_answer(row) | {"task": task_rows.to_answer(row)}


@resource.read("/api/v1/tasks/{task_id}/claim", answer=ClaimAnswer)
def get_claim(store: Store, task_id: str) -> Any:
    """Return the owner of a task."""
    row = task_rows.find(store.tables, task_id)
    if row["claimed_by"] is None:
        raise missing("claim", task_id, key="task")
    return to_answer(row)


@resource.write("DELETE", "/api/v1/tasks/{task_id}/claim", status=204)
def release_claim(change: Change, task_id: str) -> None:
    """Release a task for another agent: for a person who knows that its agent is gone."""
    row = task_rows.lock(change, task_id)
    _refuse_ended(row)
    if row["claimed_by"] is None:
        return
    values = dict.fromkeys(("claimed_by", "claimed_run", "claimed_at"))
    row = task_rows.update(change, row, values)
    task_rows.announce(change, "task_update", row)


def _refuse_ended(row: dict[str, Any]) -> None:
    if TaskStatus(row["status"]).is_terminal:
        raise conflict(
            "TASK_ENDED",
            f"task {row['id']} is {row['status']}",
            field="status",
            current=row["status"],
        )


def _way_out(row: dict[str, Any]) -> str:
    """Return what a person can do once the agent is known to be gone."""
    if row["status"] == TaskStatus.PENDING:
        how = f"release the task on its page or with DELETE /api/v1/tasks/{row['id']}/claim"
    else:
        how = "cancel the task and run it again"
    return f"If that agent is gone for good, {how}"


def in_words(tables: Tables, row: dict[str, Any]) -> str:
    """Name the agent that has claimed a task, for a person."""
    owner = agents.find(tables, row["claimed_by"])
    where = f" on {owner['host']}" if owner is not None and owner["host"] else ""
    since = t.date(row["claimed_at"])
    return f"the agent {row['claimed_by']}{where} since {since}, run {row['claimed_run']}"


def to_answer(row: dict[str, Any]) -> dict[str, Any]:
    """Return the claim of a task as JSON, as ``ClaimAnswer`` documents it."""
    return {
        "taskId": row["id"],
        "agent": row["claimed_by"],
        "run": row["claimed_run"],
        "claimedAt": t.date(row["claimed_at"]),
    }
