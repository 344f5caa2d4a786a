"""A small Python project with a failing test, and what a scripted model says about it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keruta_agent.runner import RetryConfig, RunnerConfig, RunnerOrchestrator, TaskContext
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes
from tests.helpers.repositories import Repository, git, make_repository
from tests.helpers.runner_services import Around

KEY = "sk-test-do-not-leak-0123456789abcdef"
TOKEN = "ghp_donotleak0123456789abcdefghijABCD"
BRANCH = "feature/task-1.1"
BROKEN = "def half(number):\n    return number\n"
WRONG = "def half(number):\n    return number / 3\n"
RIGHT = "def half(number):\n    return number / 2\n"
TEST = """\
import os, pathlib, unittest
from half import half

class HalfTest(unittest.TestCase):
    def test_half(self):
        pathlib.Path("dropping.txt").write_text("left by the tests")
        print("seen", sorted(name for name in os.environ if "KEY" in name or "TOKEN" in name))
        pid, seen = os.getppid(), b""
        for _ in range(3):  # a shell, the command's supervisor, the runner
            seen += pathlib.Path(f"/proc/{pid}/environ").read_bytes()
            pid = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        print("leaked", b"do-not-leak" in seen or b"donotleak" in seen)
        self.assertEqual(half(4), 2)
"""
TESTS = f"{sys.executable} -m unittest -v"


def project(path: Path) -> Repository:
    """Make the project's repository."""
    files = {"half.py": BROKEN, "test_half.py": TEST, ".gitignore": "__pycache__/\n"}
    return make_repository(path, files)


def says(*contents: str) -> list[Turn | str]:
    """Return turns that write these contents into half.py."""
    return [
        changes({"file_path": "half.py", "operation": "modify", "content": content})
        for content in contents
    ]


def fixing(request: Mapping[str, Any]) -> Turn:
    """Answer wrongly first, and rightly once the prompt shows how it fails."""
    has_seen = "1.3333" in str(request["messages"][-1]["content"])
    turn = says(RIGHT if has_seen else WRONG)[0]
    return Turn(content=turn) if isinstance(turn, str) else turn


def config(
    model: ScriptedModel, around: Around | None, directory: Path, **more: Any
) -> RunnerConfig:
    """Return a configuration for these servers that loses no time."""
    retry = RetryConfig(max_retries=1, initial_delay_seconds=0.01)
    urls: dict[str, Any] = {}
    if around is not None:
        urls = {
            "task_registry_url": around.registry.base_url,
            "repo_pool_url": around.pool.base_url,
            "artifact_store_url": around.store.base_url,
        }
    return RunnerConfig(
        **{
            **urls,
            "git_retry_config": retry,
            "network_retry_config": retry,
            "llm_api_key": KEY,
            "llm_endpoint": model.endpoint,
            "llm_retry_count": 0,
            "evidence_dir": directory / "evidence",
            **more,
        }
    )


def task(repository: Repository | None = None, **fields: Any) -> TaskContext:
    """Return the task to fix the project."""
    metadata = {} if repository is None else {"repo_url": str(repository.path)}
    values: dict[str, Any] = {
        "task_id": "1.1",
        "spec_name": "数学",
        "title": "Mend half",
        "description": "half(4) has to be 2.",
        "branch_name": BRANCH,
        "test_commands": [TESTS],
        "timeout_seconds": 120,
        "metadata": metadata,
    }
    return TaskContext.from_dict(values | fields)


@contextlib.contextmanager
def runner_with(
    directory: Path, turns: Any, around: Around | None = None, **more: Any
) -> Iterator[tuple[RunnerOrchestrator, ScriptedModel]]:
    """Yield a runner, and the model with these answers that it asks."""
    followers = {name: more.pop(name) for name in ("on_step", "stopping") if name in more}
    with ScriptedModel(turns).serving() as model:
        reported = config(model, around, directory, **more)
        yield RunnerOrchestrator(reported, **followers), model


def slot_in(tmp_path: Path, repository: Repository) -> Path:
    """Return a clone as a pool would lend it."""
    git(tmp_path, "clone", "--quiet", str(repository.path), "own")
    return tmp_path / "own"
