"""The validation of a task, before anything is begun or paid for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from keruta_agent.core import errors
from keruta_agent.core.coding import branches
from keruta_agent.core.coding.model import TaskContext

#: Field of a task's metadata: the protected files that its model may write, each by its path.
ALLOWED: Final = "allowed_files"
#: Field of a task's metadata: whether its model may change existing tests; or which, by path.
ALLOWED_TESTS: Final = "allow_test_changes"
#: Field of a task's metadata: whether the tests run before the first change.
BASELINE: Final = "baseline"
#: Characters of an id, as the Task Registry takes them.
_LONGEST_ID: Final = 1000
#: Seconds of 30 days: a longer limit is a mistake.
_LONGEST_S: Final = 30 * 24 * 3600


def check(context: TaskContext, *, has_pool: bool) -> None:
    """Check a task; all that is wrong is reported at once.

    Raises:
        TaskContextValidationError: something is missing or impossible.
    """
    wrong = [
        f"{name} is required"
        for name in ("task_id", "spec_name", "title", "description")
        if not str(getattr(context, name) or "").strip()
    ]
    wrong += _about_texts(context)
    if context.timeout_seconds <= 0:
        wrong.append("timeout_seconds must be positive")
    elif context.timeout_seconds > _LONGEST_S:
        wrong.append(f"timeout_seconds must be at most {_LONGEST_S}")
    if context.max_tokens is not None and context.max_tokens <= 0:
        wrong.append("max_tokens must be positive")
    if not all(command.strip() for command in context.test_commands or ()):
        wrong.append("test_commands must not hold an empty command, which tests nothing")
    if not takes_slot(context, has_pool=has_pool):
        wrong += _about_place(context)
    if context.playbook_path is not None and not context.playbook_path.is_file():
        wrong.append(f"playbook_path does not exist: {context.playbook_path}")
    if wrong:
        listed = "\n".join(f"  - {line}" for line in wrong)
        raise errors.TaskContextValidationError(f"The task cannot be run:\n{listed}")


def check_filed(context: TaskContext, *, has_pool: bool) -> None:
    """Check a task that somebody files: what can never run is refused where its author hears it.

    Raises:
        TaskContextValidationError: something is missing or impossible, or a password is in it.
        SecurityError: no run may push to its branch.
    """
    check(context, has_pool=has_pool)
    branches.branch_of(context)
    if _has_password(str(context.metadata.get("repo_url") or "")):
        raise errors.TaskContextValidationError(
            "repo_url must hold no password: set GIT_TOKEN where the runner is"
        )


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return True


def takes_slot(context: TaskContext, *, has_pool: bool) -> bool:
    """Return whether the Repo Pool Manager supplies the workspace."""
    return has_pool and bool(context.metadata.get("repo_url"))


def allowed_files(context: TaskContext) -> frozenset[str]:
    """Return the protected files that a task names as ones that its model may write.

    Raises:
        TaskContextValidationError: they are no list of paths.
    """
    given = context.metadata.get(ALLOWED) or []
    if not isinstance(given, list) or not all(isinstance(path, str) and path for path in given):
        raise errors.TaskContextValidationError(
            f"metadata.{ALLOWED} must be a list of paths",
            advice="Name each file, such as .github/workflows/test.yml",
        )
    return frozenset(PurePosixPath(path).as_posix() for path in given)


def allowed_tests(context: TaskContext) -> bool | tuple[str, ...]:
    """Return whether a task lets its model change what its tests consist of, or which of it.

    Raises:
        TaskContextValidationError: it is neither true, false, nor a list of paths.
    """
    given = context.metadata.get(ALLOWED_TESTS, False)
    if isinstance(given, bool) or given is None:
        return bool(given)
    if not isinstance(given, list) or not all(isinstance(path, str) and path for path in given):
        raise errors.TaskContextValidationError(
            f"metadata.{ALLOWED_TESTS} must be true or a list of paths",
            advice="Name each file or directory, such as tests/test_login.py",
        )
    return tuple(PurePosixPath(path).as_posix() for path in given)


def _about_texts(context: TaskContext) -> Iterator[str]:
    """Yield what no file, branch, process or request can be given."""
    for name in ("task_id", "spec_name"):
        value = getattr(context, name)
        if value.strip() in (".", "..") or len(value) > _LONGEST_ID or len(value.splitlines()) > 1:
            yield f"{name} must be one line of at most {_LONGEST_ID} characters, and more than dots"
    for name in ("repo_url", "base_branch"):
        if not isinstance(context.metadata.get(name) or "", str):
            yield f"metadata.{name} must be text"
    for read in (allowed_files, allowed_tests):
        try:
            read(context)
        except errors.TaskContextValidationError as error:
            yield error.message
    if not isinstance(context.metadata.get(BASELINE, True), bool):
        yield f"metadata.{BASELINE} must be true or false"
    for field in dataclasses.fields(context):
        value = getattr(context, field.name)
        texts = value if isinstance(value, list) else [value]
        if not all(_is_sound(text) for text in texts if isinstance(text, str)):
            yield f"{field.name} must be text without NUL and halves of characters"


def _is_sound(text: str) -> bool:
    return "\0" not in text and text == text.encode("utf-8", "replace").decode()


def _about_place(context: TaskContext) -> list[str]:
    if context.slot_path is None and context.metadata.get("repo_url"):
        return []  # the runner makes a clone of its own
    if context.slot_path is None:
        return ["slot_path is required, or metadata.repo_url"]
    if not context.slot_path.is_dir():
        return [f"slot_path does not exist: {context.slot_path}"]
    return []
