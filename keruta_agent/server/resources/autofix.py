"""The route that turns a failed task into a task that repairs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields

from keruta_agent.core import model
from keruta_agent.http.bodies import to_json
from keruta_agent.http.fields import FreeText, RequestSchema
from keruta_agent.http.problems import conflict
from keruta_agent.http.routes import Answer
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import TaskAnswer
from keruta_agent.server.store import session_rows, task_rows
from keruta_agent.server.store.store import Change
from keruta_agent.server.store.tables import from_json

resource = Resource("auto-fix", "Tasks that repair failed tasks")

#: States in which a task may still fail. The first Go agent asks for the fix before it says so.
_RUNNING = frozenset(
    {
        model.TaskStatus.PROCESSING,
        model.TaskStatus.WAITING_FOR_INPUT,
        model.TaskStatus.RETRYING,
    }
)
_SEPARATOR = "\n\n---\n"


class FailureDraft(RequestSchema):
    """Why the task failed."""

    error_message = FreeText(load_default="", data_key="errorMessage")
    error_code = FreeText(load_default="", data_key="errorCode")


class NotCreatedAnswer(Schema):
    """Why there is no auto-fix task."""

    created = fields.Boolean(required=True)
    reason = fields.String(required=True)


@resource.write(
    "POST",
    "/api/v1/tasks/{task_id}/auto-fix",
    body=FailureDraft,
    answer=TaskAnswer,
    status=201,
    also=(200, NotCreatedAnswer),
)
def create_auto_fix(change: Change, draft: dict[str, Any], task_id: str) -> Any:
    """Create the auto-fix task of a failed task, within limits; of one that runs when it fails."""
    row = task_rows.lock(change, task_id)
    failed = task_rows.to_task(row)
    if failed.status in _RUNNING:
        tasks = change.tables.tasks
        tasks.update(fix_request=to_json(draft)).where(tasks.id == task_id).execute()
        return _not_created("the task still runs: its fix is made when it fails")
    if failed.status is not model.TaskStatus.FAILED:
        raise conflict(
            "NOT_FAILED",
            f"task {task_id} is {failed.status}: only a FAILED task is fixed",
            field="status",
            current=failed.status.value,
        )
    if row["fix_made"]:
        return _not_created("its fix was asked for while it ran, and made when it failed")
    return _create(change, failed, draft)


def settle_request(change: Change, row: dict[str, Any]) -> None:
    """Make the fix that was asked for while a task ran, now that the task has ended.

    The row of the task is locked. Where there is no fix, nobody is left to learn why: the
    limits are those of every fix.
    """
    if row["fix_request"] is None:
        return
    ended = task_rows.to_task(row)
    is_made = False
    if ended.status is model.TaskStatus.FAILED:
        answer = _create(change, ended, from_json(row["fix_request"]))
        is_made = not isinstance(answer, Answer)
    tasks = change.tables.tasks
    values = {"fix_request": None, "fix_made": int(is_made)}
    tasks.update(**values).where(tasks.id == ended.id).execute()


def _not_created(reason: str) -> Answer:
    return Answer(body={"created": False, "reason": reason}, status=200)


def _create(change: Change, failed: model.Task, draft: Mapping[str, Any]) -> Any:
    root = task_rows.fix_root(failed.parameters) or failed.id
    depth = fix_count(failed.parameters)
    error_code, error_message = draft["error_code"], draft["error_message"]
    if model.has_failed_so_before(failed.parameters, error_code, error_message):
        return _not_created("the fix failed just as the task before it: another would not help")
    reason = _reason_against(change, failed, root, depth)
    if reason:
        return _not_created(reason)
    fix = {
        "parent_task_id": failed.id,
        "name": model.auto_fix_title(failed.name),
        "description": failed.description + _SEPARATOR + _failure_text(draft),
        "script": failed.script,
        "priority": failed.priority,
        "parameters": model.auto_fix_parameters(
            failed,
            root=root,
            fix_count=depth + 1,
            error_code=error_code,
            error_message=error_message,
        ),
    }
    return task_rows.to_answer(task_rows.create(change, fix, failed.session_id))


def fix_count(parameters: Mapping[str, Any]) -> int:
    """Return how many fixes led to a task; 0 for an ordinary one."""
    count = parameters.get("fixCount")
    return count if type(count) is int and count > 0 else 0


def _reason_against(change: Change, failed: model.Task, root: str, depth: int) -> str:
    if depth >= model.MOST_AUTO_FIXES:
        return f"the task is the {depth}th fix of a fix; the limit is {model.MOST_AUTO_FIXES}"
    # Two tasks of one root may fail at once: the session's row makes them count in turn.
    session = session_rows.to_session(session_rows.lock(change, failed.session_id))
    if session.has_ended:
        return f"session {session.id} is {session.status} and takes no more tasks"
    tasks = change.tables.tasks
    made = tasks.select(tasks.number).where(tasks.fix_root == root).count()
    if made >= model.MOST_AUTO_FIXES:
        return (
            f"there are {made} auto-fix tasks of task {root}; the limit is {model.MOST_AUTO_FIXES}"
        )
    if not failed.script.strip():
        return "the task has no script: a copy of it would succeed without doing anything"
    return ""


def _failure_text(draft: Mapping[str, Any]) -> str:
    code = f" ({draft['error_code']})" if draft["error_code"] else ""
    return f"Error{code}: {draft['error_message']}"
