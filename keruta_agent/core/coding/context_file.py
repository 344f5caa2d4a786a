"""Tasks read from a file, the environment or values, in the words of runner and Dispatcher."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.core.coding.model import TaskContext

VARIABLE: Final = "TASK_CONTEXT"
_LARGEST: Final = 16 * 1024 * 1024
#: What a Dispatcher calls them.
_OTHER_NAMES: Final = {
    "task_title": "title",
    "task_description": "description",
    "taskId": "task_id",
    "id": "task_id",
}
#: Fields whose values are taken as they are: a title may look like YAML.
_TEXTS: Final = frozenset(
    field.name for field in dataclasses.fields(TaskContext) if field.type == "str"
)
#: What belongs to the metadata, wherever it stands.
_IN_METADATA: Final = ("repo_url", "base_branch")


def from_file(path: Path, changes: Iterable[str] = (), *, timeout_s: int = 1800) -> TaskContext:
    """Return the task of a JSON or YAML file, with ``key=value`` changes on top.

    Raises:
        TaskContextValidationError: the file or a change is invalid.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST)
    except (OSError, UnicodeDecodeError) as exc:
        raise errors.TaskContextValidationError(f"Cannot read the task {path}: {exc}") from exc
    return from_values(changed(_parsed(text, str(path)), changes), timeout_s=timeout_s)


def from_environment(
    environment: Mapping[str, str], changes: Iterable[str] = (), *, timeout_s: int = 1800
) -> TaskContext:
    """Return the task in TASK_CONTEXT, as a Dispatcher starts a runner.

    Raises:
        TaskContextValidationError: there is none, or it is invalid.
    """
    text = environment.get(VARIABLE, "")
    if not text.strip():
        raise errors.TaskContextValidationError(
            f"There is no task: {VARIABLE} is not set",
            advice="Set it to the JSON of a task, or use: keruta runner run --context FILE",
        )
    return from_values(changed(_parsed(text, VARIABLE), changes), timeout_s=timeout_s)


def from_values(values: Mapping[str, Any], *, timeout_s: int = 1800) -> TaskContext:
    """Return the task that values describe.

    Raises:
        TaskContextValidationError: a value is missing, unknown, or of the wrong kind.
    """
    named: dict[str, Any] = {"timeout_seconds": timeout_s}
    for name, value in values.items():
        if value is not None:
            named[_OTHER_NAMES.get(name, name)] = value
    metadata = named.get("metadata", {})
    if not isinstance(metadata, Mapping):
        raise errors.TaskContextValidationError(
            "cannot read a TaskContext: metadata: Not a mapping"
        )
    more = {name: named.pop(name) for name in _IN_METADATA if name in named}
    # A number in YAML is a task's id all the same.
    if isinstance(named.get("task_id"), int | float):
        named["task_id"] = str(named["task_id"])
    return TaskContext.from_dict({**named, "metadata": {**metadata, **more}})


def changed(values: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return values with changes such as ``title=New`` or ``metadata.repo_url=...``.

    Raises:
        TaskContextValidationError: a change has no ``=``, or goes into what is no mapping.
    """
    result = dict(values)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name:
            raise errors.TaskContextValidationError(
                f"--set {change!r} changes nothing", advice="Write it as key=value"
            )
        *path, last = name.split(".")
        place = result
        for part in path:
            inner = place.get(part) or {}
            if not isinstance(inner, Mapping):
                raise errors.TaskContextValidationError(f"--set {name}: {part} is no mapping")
            place[part] = dict(inner)
            place = place[part]
        place[last] = text if name in _TEXTS else _value(text)
    return result


def _parsed(text: str, origin: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        try:
            document = _read_yaml(text)
        except ValueError as exc:
            raise errors.TaskContextValidationError(
                f"The task in {origin} is neither JSON nor YAML"
            ) from exc
    if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
        raise errors.TaskContextValidationError(
            f"The task in {origin} is no mapping", advice="Write task_id, spec_name, title, ..."
        )
    return document


def _value(text: str) -> Any:
    """Read a value as YAML does, so that numbers, lists and true can be given."""
    try:
        return _read_yaml(text) if text.strip() else text
    except ValueError:
        return text


def _read_yaml(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        ValueError: it is none.
    """
    # Megabytes that the daemon, which only checks tasks, does without.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, RecursionError) as exc:
        raise ValueError("it is no YAML") from exc
