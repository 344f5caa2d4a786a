"""Checks that a task says what has to be known, before anything is begun or paid for."""

from __future__ import annotations

from keruta_agent import errors
from keruta_agent.runner_model import TaskContext


def check(context: TaskContext, *, has_pool: bool) -> None:
    """Checks a task; all that is wrong is told at once.

    Raises:
        TaskContextValidationError: something is missing or impossible.
    """
    wrong = [
        f"{name} is required"
        for name in ("task_id", "spec_name", "title", "description")
        if not str(getattr(context, name) or "").strip()
    ]
    if context.timeout_seconds <= 0:
        wrong.append("timeout_seconds must be positive")
    if not takes_slot(context, has_pool=has_pool):
        wrong += _about_place(context)
    if context.playbook_path is not None and not context.playbook_path.is_file():
        wrong.append(f"playbook_path does not exist: {context.playbook_path}")
    if wrong:
        listed = "\n".join(f"  - {line}" for line in wrong)
        raise errors.TaskContextValidationError(f"The task cannot be run:\n{listed}")


def takes_slot(context: TaskContext, *, has_pool: bool) -> bool:
    """Tells whether the Repo Pool Manager supplies the workspace."""
    return has_pool and bool(context.metadata.get("repo_url"))


def _about_place(context: TaskContext) -> list[str]:
    if context.slot_path is None:
        return ["slot_path is required (or metadata.repo_url, with repo_pool_url in the settings)"]
    if not context.slot_path.is_dir():
        return [f"slot_path does not exist: {context.slot_path}"]
    return []
