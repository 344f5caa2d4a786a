"""Names of branches that runs may push, and of those that they must leave alone."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.coding.model import TaskContext

#: Field of a task's metadata: the number of an attempt of a pool, from 1.
ATTEMPT: Final = "attempt"
BEGINNINGS: Final = ("feature/", "task/")
_UNFIT: Final = re.compile(r"[^\w.-]+")
_DOTS: Final = re.compile(r"\.{2,}")
#: What no branch's name holds (git check-ref-format).
_NO_NAME: Final = re.compile(r"\.\.|[\x00-\x20\x7f~^:?*\[\\]|@\{|/$|//|\.lock(/|$)|\.$|/\.|^-")
#: Bytes of one part of a name: a file is named by it, and more is put behind it there.
_LONGEST_PART: Final = 200
_LONGEST: Final = 1000
_DIGITS: Final = 8


def branch_of(context: TaskContext) -> str:
    """Return the branch of a task: the one that it names, else ``feature/task-{spec}-{id}``.

    Attempts of a pool after the first have branches of their own: an earlier one may yet push.

    Raises:
        SecurityError: no run may push to the named one.
    """
    name = context.branch_name or (
        f"{BEGINNINGS[0]}task-{_fit(context.spec_name, context.task_id)}"
    )
    attempt = attempt_of(context)
    return checked(name if attempt in (None, 1) else f"{name}-attempt-{attempt}")


def attempt_of(context: TaskContext) -> int | None:
    """Return which attempt of a pool this is, None outside of a pool."""
    attempt = context.metadata.get(ATTEMPT)
    return attempt if isinstance(attempt, int) and not isinstance(attempt, bool) else None


def _fit(spec_name: str, task_id: str) -> str:
    """Return both ids as a part of a name; where that loses something, a hash tells them apart."""
    plain = f"{spec_name}-{task_id}"
    fit = _DOTS.sub("-", _UNFIT.sub("-", plain)).removesuffix(".lock").strip(".-")
    room = _LONGEST_PART - len("task-") - 1 - _DIGITS
    fit = fit.encode()[:room].decode(errors="ignore")
    if fit == plain:
        return fit
    digest = hashlib.sha256(f"{spec_name}\0{task_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{fit}-{digest[:_DIGITS]}".lstrip("-")


def checked(name: str) -> str:
    """Return the name of a branch that a run may push to.

    Raises:
        SecurityError: it is not one.
    """
    shown = name[:_LONGEST_PART]
    if _NO_NAME.search(name):
        raise errors.SecurityError(f"Pushing to {shown!r} is not allowed: it is no branch")
    if len(name) > _LONGEST or any(len(part.encode()) > _LONGEST_PART for part in name.split("/")):
        raise errors.SecurityError(
            f"Pushing to {shown!r} is not allowed: the name is too long",
            advice=f"Give each part of branch_name at most {_LONGEST_PART} bytes",
        )
    if not name.startswith(BEGINNINGS):
        raise errors.SecurityError(
            f"Pushing to {name!r} is not allowed: only feature/task branches are pushed",
            advice=f"Begin branch_name with {' or '.join(BEGINNINGS)}",
        )
    return name
