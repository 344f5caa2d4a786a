"""Everything that a coding task needs, with runners as processes that can be killed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from keruta_agent.testing.language_model import ScriptedModel
from tests.helpers import coding
from tests.helpers.coding import BRANCH, KEY, TOKEN
from tests.helpers.forked import ForkedProcess
from tests.helpers.processes import start_keruta
from tests.helpers.repositories import Repository, git
from tests.helpers.runner_services import Around, runner_services

_TIMEOUT_S = 90.0


@dataclasses.dataclass
class Run:
    """A runner that works at a task."""

    process: subprocess.Popen[bytes] | ForkedProcess
    output: TextIO

    def end(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end; return the exit code, and what else was written."""
        with self.output:
            rest = self.output.read()
        return subprocess.CompletedProcess(["keruta"], self.process.wait(_TIMEOUT_S), rest)


class CodingWorld:
    """One project, its services and its model."""

    def __init__(self, path: Path, around: Around, model: ScriptedModel) -> None:
        self.path = path
        self.repository: Repository = coding.project(path / "project.git")
        self.around = around
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(path),
            "LANG": "C.UTF-8",
            "KERUTA_BASE_DIR": str(path / "base"),
            "TMPDIR": str(path / "tmp"),
            "OPENAI_BASE_URL": model.endpoint,
            "OPENAI_API_KEY": KEY,
            "GIT_TOKEN": TOKEN,
            "TASK_REGISTRY_URL": around.registry.base_url,
            "REPO_POOL_URL": around.pool.base_url,
            "ARTIFACT_STORE_URL": around.store.base_url,
        }
        (path / "tmp").mkdir()

    def start(self, task_id: str = "1.1", branch: str = BRANCH) -> Run:
        """Start a runner."""
        context = coding.task(self.repository, task_id=task_id, branch_name=branch)
        file = self.path / f"task-{task_id}.json"
        file.write_text(json.dumps(context.to_dict()), encoding="utf-8")
        reading, writing = os.pipe()
        with Path(os.devnull).open("rb") as nothing, os.fdopen(writing, "wb") as output:
            process = start_keruta(
                ["runner", "run", "--context", str(file)],
                self._environment,
                self.path,
                (nothing, output, output),
            )
        return Run(process, os.fdopen(reading, encoding="utf-8"))

    def run(self, task_id: str = "1.1", branch: str = BRANCH) -> subprocess.CompletedProcess[str]:
        """Run a task to its end."""
        return self.start(task_id, branch).end()

    def kill_at(self, moment: str) -> None:
        """Start a run and kill it when it says something."""
        run = self.start()
        seen = []
        for line in run.output:
            seen.append(line)
            if moment in line:
                break
        run.process.kill()
        assert run.end().returncode == -signal.SIGKILL, "".join(seen)

    def kill_after(self, seconds: float, task_id: str, branch: str) -> bool:
        """Start a run and kill it after a while; return whether it still ran."""
        run = self.start(task_id, branch)
        time.sleep(seconds)
        run.process.kill()
        return run.end().returncode == -signal.SIGKILL

    def slots(self) -> list[dict[str, Any]]:
        """Return the slots of the pool."""
        pools = self.around.pool.get_pools_status()["pools"]
        return [slot for pool in pools for slot in pool["slots"]]

    def lost(self, before: dict[str, str]) -> list[str]:
        """Return the branches whose former commits are no longer part of them."""
        now = self.repository.branches
        gone = []
        for name, commit in before.items():
            if name not in now:
                gone.append(name)
                continue
            base = git(self.repository.path, "merge-base", commit, now[name])
            if base != commit:
                gone.append(name)
        return gone

    def files_with(self, *secrets: str) -> list[Path]:
        """Return the files that hold a secret."""
        return [
            path
            for path in self.path.rglob("*")
            if path.is_file()
            and not path.is_symlink()
            and any(secret.encode() in path.read_bytes() for secret in secrets)
        ]


@contextlib.contextmanager
def coding_world(path: Path, *, pool_size: int) -> Iterator[CodingWorld]:
    """Give such a world for the length of the block."""
    with (
        runner_services(path / "services", pool_size=pool_size) as around,
        ScriptedModel(coding.fixing).serving() as model,
    ):
        yield CodingWorld(path, around, model)
