"""A scripted model that answers rounds, and a workspace for it to work in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from keruta_agent.core.coding.model import LLMConfig, TaskContext, Workspace
from keruta_agent.testing.language_model import ScriptedModel

KEY = "sk-live-4f9aD03kq8ZbT71x"


def config_of(model: ScriptedModel) -> LLMConfig:
    """Return how the scripted model is asked."""
    return LLMConfig(api_key=KEY, endpoint=model.endpoint, timeout_seconds=30)


def repository(path: Path, **files: str) -> Workspace:
    """Make a git repository of one commit. In names of files ``__`` is a slash, ``_`` a dot."""
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        place = path / name.replace("__", "/").replace("_", ".")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        [
            *("-c", "user.name=t", "-c", "user.email=t@localhost"),
            *("commit", "--quiet", "--allow-empty", "-m", "first"),
        ],
    ):
        subprocess.run(["git", *command], cwd=path, check=True)
    return Workspace(path=path, branch_name="feature/task-1.1")


def task(**fields: object) -> TaskContext:
    """Return a task with these fields."""
    given: dict[str, object] = {
        "task_id": "1.1",
        "spec_name": "calc",
        "title": "Fix the addition",
        "description": "add() gives the wrong sum.",
        **fields,
    }
    return TaskContext.from_dict(given)
