"""Tasks as rows: found, created, serialized, announced."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent.core import model
from keruta_agent.http.bodies import to_json
from keruta_agent.http.problems import missing
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.statements import select
from keruta_agent.server.store.store import Change
from keruta_agent.server.store.tables import Tables

_FIND: Final = select("tasks", "id = ?")
_LOCK: Final = select("tasks", "id = ?", locks=True)

#: A stored date as it is sent.
date = t.date


def find(tables: Tables, task_id: str) -> dict[str, Any]:
    """Return a task's row.

    Raises:
        Problem: there is none (404).
    """
    return _existing(tables.database.one(_FIND, task_id), task_id)


def lock(change: Change, task_id: str) -> dict[str, Any]:
    """Return a task's row, which nobody else changes until the transaction ends."""
    return _existing(change.tables.database.one(_LOCK, task_id), task_id)


def _existing(row: dict[str, Any] | None, task_id: str) -> dict[str, Any]:
    if row is None:
        raise missing("task", task_id)
    return row


def create(change: Change, draft: Mapping[str, Any], session_id: str) -> dict[str, Any]:
    """Create a PENDING task and return its row."""
    parameters = draft.get("parameters") or {}
    moment = t.now()
    row = {
        **dict.fromkeys(t.COLUMNS["tasks"]),
        "id": str(uuid.uuid4()),
        "session_id": session_id,
        "parent_task_id": draft.get("parent_task_id"),
        "name": draft["name"],
        "description": draft.get("description", ""),
        "script": draft.get("script", ""),
        "status": model.TaskStatus.PENDING.value,
        "message": "",
        "progress": 0,
        "error_code": "",
        "priority": draft.get("priority", 0),
        "parameters": to_json(parameters),
        "fix_root": fix_root(parameters),
        "created_at": moment,
        "updated_at": moment,
        "fix_made": 0,
        "log_kept": 1,
    }
    del row["number"]
    row["number"] = change.tables.database.insert("tasks", row)
    announce(change, "task_created", row)
    return row


def update(change: Change, row: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Change columns of a task whose row is locked, and return its new row."""
    values = {**values, "updated_at": t.now()}
    change.tables.database.update("tasks", values, number=row["number"])
    return {**row, **values}


def fix_root(parameters: Mapping[str, Any]) -> str | None:
    """Return the task that an auto-fix task goes back to; None for any other task."""
    root = parameters.get("originalTaskId")
    return root if parameters.get("autoFix") is True and isinstance(root, str) else None


def to_task(row: dict[str, Any]) -> model.Task:
    """Return the task that a row holds."""
    return model.Task(
        id=row["id"],
        session_id=row["session_id"],
        name=row["name"],
        description=row["description"],
        script=row["script"],
        status=model.TaskStatus(row["status"]),
        message=row["message"],
        progress=row["progress"],
        error_code=row["error_code"],
        priority=row["priority"],
        parameters=t.from_json(row["parameters"]),
        parent_task_id=row["parent_task_id"],
        claimed_by=row["claimed_by"],
        created_at=t.from_microseconds(row["created_at"]),
        updated_at=t.from_microseconds(row["updated_at"]),
    )


def to_answer(row: dict[str, Any]) -> dict[str, Any]:
    """Return a task as JSON, as ``TaskAnswer`` documents it."""
    return {
        "id": row["id"],
        "sessionId": row["session_id"],
        "parentTaskId": row["parent_task_id"],
        "name": row["name"],
        "description": row["description"],
        "script": row["script"],
        "status": row["status"],
        "message": row["message"],
        "progress": row["progress"],
        "errorCode": row["error_code"],
        "parameters": t.from_json(row["parameters"]),
        "priority": row["priority"],
        "claimedBy": row["claimed_by"],
        "createdAt": date(row["created_at"]),
        "updatedAt": date(row["updated_at"]),
        "title": row["name"],
        "logPrunedAt": date(row["log_pruned_at"]),
        "artifactsPrunedAt": date(row["artifacts_pruned_at"]),
    }


def announce(change: Change, name: str, row: dict[str, Any], **more: Any) -> None:
    """Notify listeners of a change of a task."""
    data = {
        "taskId": row["id"],
        "parentTaskId": row["parent_task_id"],
        "name": row["name"],
        "status": row["status"],
        "progress": row["progress"],
        "message": row["message"],
        "errorCode": row["error_code"],
        "priority": row["priority"],
        "createdAt": date(row["created_at"]),
        "startedAt": date(row["started_at"]),
        "endedAt": date(row["ended_at"]),
    }
    change.announce(name, row["session_id"], data | more)
