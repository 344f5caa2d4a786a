"""Asks the API for the auto-fix task of a failed task (contract 10).

The server's own route knows the rules. Where it is missing, the task is made here under the same
rules: at most ``MOST_FIXES`` deep along the chain and at most as many below its first task.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent import errors, model
from keruta_agent.model import Task
from keruta_agent.ports import KerutaApi

logger = logging.getLogger(__name__)

MOST_FIXES: Final = 3
#: Holds what the failure looked like that an auto-fix task is to mend.
FAILURE_PARAMETER: Final = "failure"
TITLE_PREFIX: Final = "[自動修正] "


def has_failed_so_before(parameters: Mapping[str, Any], error_code: str, message: str) -> bool:
    """Tells whether a fix failed just as what it was to fix: then one more would not help."""
    return parameters.get(FAILURE_PARAMETER) == model.failure_fingerprint(error_code, message)


def request(api: KerutaApi, task_id: str, *, error_message: str, error_code: str, key: str) -> None:
    """Has an auto-fix task created, unless the limits are reached.

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
    if has_failed_so_before(failed.parameters, error_code, error_message):
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
        name=TITLE_PREFIX + failed.name.removeprefix(TITLE_PREFIX),
        description=f"{failed.description}\n\n---\n{error_message}",
        parameters={
            **failed.parameters,
            "autoFix": True,
            "fixCount": fix_count,
            "originalTaskId": root,
            "errorCode": error_code,
            FAILURE_PARAMETER: model.failure_fingerprint(error_code, error_message),
        },
    )
    try:
        api.create_subtask(failed.id, fix, key=key)
    except errors.ApiUnsupported:
        api.create_task(fix, key=key)


def _reason_against(api: KerutaApi, failed: Task, root: str, fix_count: int) -> str | None:
    if not failed.script.strip():
        return "it has no script that could be tried again"
    if fix_count > MOST_FIXES:
        return f"{MOST_FIXES} fixes in a row have failed"
    if _fixes_below(api, root) >= MOST_FIXES:
        return f"task {root} has had {MOST_FIXES} fixes already"
    return None


def _fixes_below(api: KerutaApi, root: str) -> int:
    try:
        return sum(1 for task in api.subtasks(root) if task.parameters.get("autoFix"))
    except errors.ApiUnsupported:
        return 0
