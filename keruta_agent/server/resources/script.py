"""The route of what a task wants executed."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from keruta_agent.core import wire
from keruta_agent.core.model import Script
from keruta_agent.server.routes import Resource
from keruta_agent.server.store import task_rows
from keruta_agent.server.store.store import Store

resource = Resource("script", "What a task wants executed")

_SCRIPT = wire.ScriptSchema()


class ScriptAnswer(Schema):
    """A task's script."""

    success = fields.Boolean(required=True)
    task_id = fields.String(required=True, data_key="taskId")
    script = fields.Nested(wire.ScriptSchema, required=True)


@resource.read("/api/v1/tasks/{task_id}/script", answer=ScriptAnswer)
def get_script(store: Store, task_id: str) -> Any:
    """Return a task's script with the task's parameters."""
    task = task_rows.to_task(task_rows.find(store.tables, task_id))
    script = Script(content=task.script, parameters=task.parameters)
    return {"success": True, "taskId": task_id, "script": _SCRIPT.dump(script)}
