"""Names of branches that runs may push, and of those that they must leave alone."""

from __future__ import annotations

import re
from typing import Final

from keruta_agent import errors
from keruta_agent.runner_model import TaskContext

BEGINNINGS: Final = ("feature/", "task/")
_UNFIT: Final = re.compile(r"[^\w.-]+")
#: What no branch's name holds (git check-ref-format).
_NO_NAME: Final = re.compile(r"\.\.|[\x00-\x20\x7f~^:?*\[\\]|@\{|/$|//|\.lock(/|$)|\.$|/\.|^-")
_LONGEST: Final = 200


def branch_of(context: TaskContext) -> str:
    """Returns the branch of a task: the one that it names, else ``feature/task-{spec}-{id}``.

    Raises:
        SecurityError: no run may push to the named one.
    """
    if context.branch_name:
        return checked(context.branch_name)
    spec, task = (
        _UNFIT.sub("-", part).strip(".-") for part in (context.spec_name, context.task_id)
    )
    return checked(f"feature/task-{spec}-{task}"[:_LONGEST])


def checked(name: str) -> str:
    """Returns the name of a branch that a run may push to.

    Raises:
        SecurityError: it is not one.
    """
    if _NO_NAME.search(name) or len(name) > _LONGEST:
        raise errors.SecurityError(
            f"Pushing to {name[:_LONGEST]!r} is not allowed: it is no branch"
        )
    if not name.startswith(BEGINNINGS):
        raise errors.SecurityError(
            f"Pushing to {name!r} is not allowed: only feature/task branches are pushed",
            advice=f"Begin branch_name with {' or '.join(BEGINNINGS)}",
        )
    return name
