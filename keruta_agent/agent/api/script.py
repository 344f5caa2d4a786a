"""The answer of the script route, in both of its shapes, as one script."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import requests
from marshmallow import ValidationError

from keruta_agent.agent.api import parsing
from keruta_agent.core import errors, wire
from keruta_agent.core.model import Script, Task
from keruta_agent.http.client import answers

_SCRIPT = wire.ScriptSchema()

_DEFAULT_FILENAME = "task.sh"

#: Each stage is a shell of its own, so that neither an ``exit`` nor an open quote in one of them
#: reaches the others; process substitution leaves stdin to the stage and has no length limit.
_STAGES = """\
#!/usr/bin/env bash
install={install}
execute={execute}
cleanup={cleanup}
run_stage() {{ bash <(printf '%s\\n' "$1"); }}
finish() {{
  code=$?
  trap - EXIT
  run_stage "$cleanup" || echo "the cleanup stage ended with $?" >&2
  exit "$code"
}}
trap finish EXIT
run_stage "$install" && run_stage "$execute"
"""


def script_of(response: requests.Response, action: str) -> Script | None:
    """Return the script that an answer holds, or None when it holds none or a blank one.

    Raises:
        ApiFailed: the answer has not the form that the API gives scripts.
    """
    body = answers.json_of(response, action)
    inner = body.get("script") if isinstance(body, Mapping) else None
    if not isinstance(inner, Mapping):
        raise errors.ApiFailed(f"{action} failed: the answer holds no script")
    try:
        script = wire.load(_SCRIPT, _with_content(inner), Script)
    except ValidationError as exc:
        raise errors.ApiFailed(f"{action} failed: the script in the answer is malformed") from exc
    if not script.content.strip():
        return None
    return Script(
        content=script.content,
        language=script.language or "bash",
        filename=parsing.base_name(script.filename, default=_DEFAULT_FILENAME),
        parameters=_with_environment(script.parameters, body.get("environment")),
    )


def script_of_task(task: Task) -> Script:
    """Return the script that a task carries itself; it may be blank."""
    return Script(content=task.script, parameters=task.parameters)


def _with_content(inner: Mapping[str, Any]) -> dict[str, Any]:
    if inner.get("content") is not None:
        return dict(inner)
    return {**inner, "content": _joined_stages(inner)}


def _joined_stages(inner: Mapping[str, Any]) -> str:
    install, execute, cleanup = (
        _text(inner.get(name)) for name in ("installScript", "executeScript", "cleanupScript")
    )
    if not install.strip() and not cleanup.strip():
        return execute
    return _STAGES.format(
        install=shlex.quote(install), execute=shlex.quote(execute), cleanup=shlex.quote(cleanup)
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _with_environment(parameters: Mapping[str, Any], environment: object) -> Mapping[str, Any]:
    if not isinstance(environment, Mapping) or not environment:
        return parameters
    own = parameters.get("env")
    merged = {**environment, **(own if isinstance(own, Mapping) else {})}
    return {**parameters, "env": merged}
