"""Requests for the auto-fix task of a failed task.

The server's own route knows the rules. Where it is missing, the task is made here under the same
rules: at most three deep along the chain, and at most three below its first task.
"""

from __future__ import annotations

import dataclasses
import logging

from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import errors, model
from keruta_agent.core.model import Task

logger = logging.getLogger(__name__)


def request(api: KerutaApi, task_id: str, *, error_message: str, error_code: str, key: str) -> None:
    """Have an auto-fix task created, unless the limits are reached.

    Raises:
        ApiError: the server could not be asked.
    """
    try:
        api.request_auto_fix(task_id, error_message=error_message, error_code=error_code, key=key)
    except errors.ApiUnsupported:
        _create(api, api.task(task_id), error_message, error_code, key=key)


def _create(api: KerutaApi, failed: Task, error_message: str, error_code: str, *, key: str) -> None:
    root = str(failed.parameters.get("originalTaskId") or failed.id)
    fix_count = int(failed.parameters.get("fixCount") or 0) + 1
    if model.has_failed_so_before(failed.parameters, error_code, error_message):
        declined: str | None = "the fix failed just as the task before it"
    else:
        declined = _reason_against(api, failed, root, fix_count)
    if declined is not None:
        logger.warning(
            "no auto-fix task for %s: %s",
            failed.id,
            declined,
            extra={"action": "auto_fix_declined", "task": failed.id},
        )
        return
    fix = dataclasses.replace(
        failed,
        id="",
        name=model.auto_fix_title(failed.name),
        description=f"{failed.description}\n\n---\n{error_message}",
        parameters=model.auto_fix_parameters(
            failed,
            root=root,
            fix_count=fix_count,
            error_code=error_code,
            error_message=error_message,
        ),
    )
    try:
        api.create_subtask(failed.id, fix, key=key)
    except errors.ApiUnsupported:
        api.create_task(fix, key=key)


def _reason_against(api: KerutaApi, failed: Task, root: str, fix_count: int) -> str | None:
    if not failed.script.strip():
        return "it has no script that could be tried again"
    if fix_count > model.MOST_AUTO_FIXES:
        return f"{model.MOST_AUTO_FIXES} fixes in a row have failed"
    if _fixes_below(api, root) >= model.MOST_AUTO_FIXES:
        return f"task {root} has had {model.MOST_AUTO_FIXES} fixes already"
    return None


def _fixes_below(api: KerutaApi, root: str) -> int:
    try:
        return sum(1 for task in api.subtasks(root) if task.parameters.get("autoFix"))
    except errors.ApiUnsupported:
        return 0
