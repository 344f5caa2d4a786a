"""Tasks that the Agent Runner solves instead of a script.

A run of theirs executes ``keruta runner run``, so that all holds for it that holds for scripts:
cancelling, time limits, logs, and going on after the daemon was killed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.store.jobs import Job
from keruta_agent.core import errors
from keruta_agent.core.model import Script
from keruta_agent.core.settings.runner import RunnerSettings
from keruta_agent.core.settings.schema import SETTINGS, Settings
from keruta_agent.git.config import user as user_config

#: Parameter of a task: true, or a mapping with fields of a TaskContext.
PARAMETER: Final = "runner"
_RUNNER_NAMES: Final = frozenset(RunnerSettings.__dataclass_fields__)


def is_wanted(settings: Settings, script: Script) -> bool:
    """Return whether the Agent Runner is to solve a task.

    Raises:
        RunError: the task's parameter is neither a boolean nor a mapping.
    """
    wish = script.parameters.get(PARAMETER)
    if wish is None:
        return settings.runner_solves_auto_fix and bool(script.parameters.get("autoFix"))
    if not isinstance(wish, bool | Mapping):
        raise errors.RunError(
            f"parameters.{PARAMETER} of the task must be true, false or a mapping, "
            f"not {type(wish).__name__}",
            advice="Write true, or a mapping with title, description, test_commands, ...",
        )
    return wish is not False


def command(directory: RunDirectory, job: Job, script: Script, place: Path) -> list[str]:
    """Write the task for the runner and return what executes it.

    ``place`` is where it works, unless the task names a repository or a place of its own.
    """
    path = directory.write_script(
        json.dumps(_context(job, script, place), ensure_ascii=False, default=str)
    )
    return [sys.executable, "-m", "keruta_agent", "runner", "run", "--context", str(path)]


def variables(settings: Settings) -> dict[str, str]:
    """Return what the runner has to know: its settings as they are here, and the keys.

    The runner hands neither on to the commands that it starts.
    """
    found = {
        "KERUTA_BASE_DIR": str(settings.base_dir),
        "KERUTA_GIT_USERNAME": settings.git_username,
        "KERUTA_GIT_TOKEN_HOSTS": ",".join(settings.git_token_hosts),
    }
    for info in SETTINGS:
        value = getattr(settings, info.name)
        if info.name in _RUNNER_NAMES and info.environment and value is not None:
            found[info.environment[0]] = _text(value)
    # What git was set up with when the agent began: a task may have changed it since.
    found |= user_config.current().variables
    named = (
        *(settings.llm_api_key_env_var, settings.git_token_env_var),
        settings.artifact_store_api_key_env_var,
    )
    if settings.git_token:
        found[settings.git_token_env_var] = settings.git_token
    return found | {name: os.environ[name] for name in named if name in os.environ}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return json.dumps(value)
    return f"{value:g}s" if isinstance(value, float) else str(value)


def _context(job: Job, script: Script, place: Path) -> dict[str, Any]:
    wish = script.parameters.get(PARAMETER)
    given = dict(wish) if isinstance(wish, Mapping) else {}
    context = {
        "task_id": job.task_id or f"job-{job.id}",
        "spec_name": job.session_id or "adhoc",
        "title": job.name,
        "description": _description(job, script),
        **given,
    }
    metadata = context.get("metadata")
    has_repository = "repo_url" in context or (
        isinstance(metadata, Mapping) and "repo_url" in metadata
    )
    if not context.get("slot_path") and not has_repository:
        context["slot_path"] = str(place)
    return context


def _description(job: Job, script: Script) -> str:
    parts = [job.work.description.strip()]
    if script.content.strip():
        says = "The script that failed" if script.parameters.get("autoFix") else "The task's script"
        parts.append(f"{says}:\n{script.content.strip()}")
    return "\n\n".join(part for part in parts if part) or job.name
