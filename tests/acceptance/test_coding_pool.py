"""A pool of runners as people run it: a server, workers as processes, a model, a repository."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from keruta_agent.testing.language_model import ScriptedModel, Turn
from tests.helpers import coding
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import Process
from tests.helpers.repositories import Repository
from tests.helpers.waiting import wait_until

LEASE = "5"


class PoolWorld:
    """A server with its data directory, a repository, and a model that a test may hold up."""

    def __init__(self, path: Path, url: str, model: ScriptedModel, gate: threading.Event) -> None:
        self.path = path
        self.gate = gate
        self.model = model
        self.repository: Repository = coding.project(path / "project.git")
        self._url = f"{url}/api/v1"
        self._model = model
        self._stack = contextlib.ExitStack()
        self._started = 0

    def worker(self) -> Process:
        """Start a worker."""
        self._started += 1
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "KERUTA_BASE_DIR": str(self.path / "base"),
            "TMPDIR": str(self.path / "tmp"),
            "OPENAI_BASE_URL": self._model.endpoint,
            "OPENAI_API_KEY": coding.KEY,
            "KERUTA_SERVER_DATABASE_URL": "",
        }
        (self.path / "tmp").mkdir(exist_ok=True)
        arguments = ["runner", "worker", "--data", str(self.path / "data"), "--lease", LEASE]
        process = Process(arguments, environment, self.path / f"worker-{self._started}")
        self._stack.callback(self._end, process)
        process.wait_for("takes coding tasks")
        return process

    def _end(self, process: Process) -> None:
        if process.running:
            process.kill()

    def close(self) -> None:
        """End all workers."""
        self.gate.set()
        self._stack.close()

    def file(self, task_id: str = "1.1", branch: str = coding.BRANCH) -> str:
        """File a task and return its id."""
        context = coding.task(self.repository, task_id=task_id, branch_name=branch).to_dict()
        said = {name: value for name, value in context.items() if value not in (None, "", [], {})}
        return str(self.ask("POST", "/coding-tasks", {"task": said})["id"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server."""
        answer = requests.request(method, self._url + path, json=body, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def task(self, task_id: str) -> Mapping[str, Any]:
        """Return a task with its attempts."""
        found: Mapping[str, Any] = self.ask("GET", f"/coding-tasks/{task_id}")
        return found

    def wait_for_state(self, task_id: str, state: str) -> Mapping[str, Any]:
        """Wait until a task is in a state."""
        return wait_until(
            lambda: (found := self.task(task_id))["state"] == state and found,
            f"the task is {state}",
            90,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PoolWorld]:
    gate = threading.Event()
    gate.set()

    def answer(request: Mapping[str, Any]) -> Turn:
        gate.wait(60)
        return coding.fixing(request)

    with (
        embedded_server(tmp_path / "data") as server,
        ScriptedModel(answer).serving() as model,
        contextlib.closing(PoolWorld(tmp_path, server.url, model, gate)) as built,
    ):
        yield built


def test_filed_task_is_solved_pushed_and_told_of(world: PoolWorld) -> None:
    world.worker()
    task = world.wait_for_state(world.file(), "succeeded")
    assert world.repository.file(coding.BRANCH, "half.py") == coding.RIGHT.strip()
    assert "Runner-Attempt: 1" in world.repository.message(coding.BRANCH)
    [attempt] = task["attempts"]
    assert attempt["result"]["push_result"]["branch_name"] == coding.BRANCH
    assert coding.KEY not in str(task)
    assert list((world.path / "tmp").iterdir()) == []


def test_task_of_a_killed_worker_is_done_by_another_on_a_branch_of_its_own(
    world: PoolWorld,
) -> None:
    world.gate.clear()
    first = world.worker()
    task_id = world.file()
    wait_until(lambda: world.model.requests, "the runner asks the model")
    [runner] = psutil.Process(first.pid).children()
    first.kill()
    wait_until(lambda: not runner.is_running() or runner.status() == "zombie", "it ends, too")

    world.worker()
    world.gate.set()
    task = world.wait_for_state(task_id, "succeeded")
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["lost", "succeeded"]
    assert "main" in world.repository.branches
    assert coding.BRANCH not in world.repository.branches
    assert world.repository.file(f"{coding.BRANCH}-attempt-2", "half.py") == coding.RIGHT.strip()


def test_cancelled_task_pushes_nothing(world: PoolWorld) -> None:
    world.gate.clear()
    world.worker()
    task_id = world.file()
    wait_until(lambda: world.model.requests, "the runner asks the model")
    world.ask("POST", f"/coding-tasks/{task_id}/cancel", {"reason": "not needed"})
    task = world.wait_for_state(task_id, "cancelled")
    assert task["error"] == "not needed"
    assert list(world.repository.branches) == ["main"]


def test_stopped_worker_ends_after_what_it_does(world: PoolWorld) -> None:
    world.gate.clear()
    worker = world.worker()
    task_id = world.file()
    wait_until(lambda: world.model.requests, "the runner asks the model")
    waiting = world.file("1.2", "feature/task-1.2")
    worker.signal(15)
    worker.wait_for("takes no more tasks")
    world.gate.set()
    assert worker.wait() == 0
    assert world.task(task_id)["state"] == "succeeded"
    assert world.task(waiting)["state"] == "waiting"
