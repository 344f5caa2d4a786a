"""A pool of coding tasks, and executors whose runners do what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keruta_agent.server.coding import attempts
from keruta_agent.server.coding.attempts import Claim, Ending, Outcome
from keruta_agent.server.coding.executor import IsOver, MayPush
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller, Json

#: Seconds of leases that no test outlives.
LONG_S = 600.0
SUCCEEDED = Ending(outcome=Outcome.SUCCEEDED, result={"success": True})
FAILED = Ending(outcome=Outcome.FAILED, error="TestExecutionError: the tests fail")
UNAVAILABLE = Ending(outcome=Outcome.UNAVAILABLE, error="ServiceError: the pool is away")


class Pool:
    """A database with coding tasks, and the API in front of it."""

    def __init__(self, store: Store, api: ApiCaller, data_dir: Path) -> None:
        self.store = store
        self.database = store.database
        self.api = api
        self.data_dir = data_dir

    def file(self, task_id: str = "1", **values: Any) -> str:
        """File a task and return its id."""
        task = {
            "task_id": task_id,
            "spec_name": "spec",
            "title": f"Task {task_id}",
            "description": "Repair it.",
            "repo_url": "https://git.example.org/app.git",
        }
        filed = self.api.send("POST", "/coding-tasks", {"task": task, **values}, status=201)
        return str(filed["id"])

    def task(self, task_id: str) -> Json:
        """Return a task with its attempts."""
        answer: Json = self.api.get(f"/coding-tasks/{task_id}")
        return answer

    def state(self, task_id: str) -> str:
        """Return the state of a task."""
        return str(self.task(task_id)["state"])

    def claim(self, worker: str = "w", lease_s: float = LONG_S) -> Claim:
        """Claim the next task, which there is."""
        claim = attempts.claim_next(self.database, worker, lease_s)
        assert claim is not None
        return claim

    def let_pass(self) -> None:
        """Make every wait and every lease end now."""
        with self.database.writing():
            self.database.run(statement("UPDATE coding_tasks SET due_at = 0, announced_at = 0"))
            self.database.run(
                statement("UPDATE coding_tasks SET lease_until = 0 WHERE state = 'running'")
            )


class ScriptedExecution:
    """An attempt that ends as it is told, or when it is stopped."""

    def __init__(self, claim: Claim, may_push: MayPush) -> None:
        self.claim = claim
        self.may_push = may_push
        self.ending: Ending | None = None
        self.is_stopped = threading.Event()
        self._ended = threading.Event()

    def end(self, ending: Ending) -> None:
        """Let the runner end."""
        self.ending = ending
        self._ended.set()

    def wait(self) -> Ending:
        self._ended.wait(60)
        return self.ending or Ending(outcome=Outcome.FAILED, error="stopped")

    def stop(self) -> None:
        self.is_stopped.set()
        self._ended.set()


class ScriptedExecutor:
    """Starts runners that wait for their test, or end at once as ``ends`` says."""

    def __init__(self, ends: Callable[[Claim], Ending] | None = None) -> None:
        self._ends = ends
        self.started: list[ScriptedExecution] = []

    def start(self, claim: Claim, may_push: MayPush) -> ScriptedExecution:
        execution = ScriptedExecution(claim, may_push)
        self.started.append(execution)
        if self._ends is not None:
            execution.end(self._ends(claim))
        return execution

    def tidy(self, is_over: IsOver) -> None:
        """Leave nothing behind."""
