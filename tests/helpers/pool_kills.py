"""A server and a pool of workers that are killed at random, and what is looked for afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import requests

from keruta_agent.testing.language_model import Script, ScriptedModel, Turn
from tests.helpers import coding
from tests.helpers.processes import Process, free_port
from tests.helpers.repositories import Repository
from tests.helpers.waiting import wait_until

LEASE_S: Final = 5
#: Seconds that a worker is stopped for, so that its leases end while it sleeps.
ASLEEP_S: Final = LEASE_S + 3.0
_TIMEOUT_S: Final = 30.0
_BRANCH: Final = re.compile(r"feature/(\d+)(?:-attempt-(\d+))?")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """What the pool has done, and what is wrong with it."""

    states: Mapping[str, int]
    outcomes: Mapping[str, int]
    #: Attempts that were refused at their push.
    refused: int
    branches: int
    faults: tuple[str, ...]


class KilledPool:
    """A server on a port that it keeps, its workers, and the tasks that were filed."""

    def __init__(
        self,
        path: Path,
        model: ScriptedModel,
        *,
        database_url: str | None = None,
        queue_url: str | None = None,
        forks: bool = True,
    ) -> None:
        self.path = path
        self.repository: Repository = coding.project(path / "project.git")
        self.faults: Counter[str] = Counter()
        self.model = model
        self._forks = forks
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}/api/v1"
        self._urls = {
            "KERUTA_SERVER_DATABASE_URL": database_url or "",
            "KERUTA_POOL_QUEUE_URL": queue_url or "",
        }
        self._started = 0
        self._filed: dict[int, str] = {}
        self._server = self._start_server()
        self._workers: list[Process] = []
        (path / "tmp").mkdir()

    def add_worker(self, *options: str, concurrency: int = 1) -> None:
        """Start a worker, and wait until it takes tasks."""
        arguments = ["runner", "worker", "--data", str(self.path / "data")]
        arguments += ["--lease", str(LEASE_S), "--concurrency", str(concurrency), *options]
        environment = {
            "OPENAI_BASE_URL": self.model.endpoint,
            "OPENAI_API_KEY": coding.KEY,
            "TMPDIR": str(self.path / "tmp"),
        }
        process = self._start(arguments, environment)
        process.wait_for("takes coding tasks")
        self._workers.append(process)

    def file(self, number: int) -> None:
        """File a task, however often the server has to be asked."""
        context = coding.task(
            self.repository,
            task_id=str(number),
            branch_name=f"feature/{number}",
            test_commands=[],
        ).to_dict()
        said = {name: value for name, value in context.items() if value not in (None, "", [], {})}
        body = {"task": said, "attempts": 50}
        headers = {"Idempotency-Key": f"task-{number}"}
        answer = self._ask("POST", "/coding-tasks", json=body, headers=headers)
        self._filed[number] = answer["id"]

    @property
    def task_ids(self) -> list[str]:
        """The ids of the tasks."""
        return [*self._filed.values()]

    def kill_worker(self) -> None:
        """Kill the worker that was started first."""
        self._workers.pop(0).kill()

    def outcomes(self, number: int) -> list[str | None]:
        """Return how the attempts at a task have ended."""
        task = self._ask("GET", f"/coding-tasks/{self._filed[number]}")
        return [attempt["outcome"] for attempt in task["attempts"]]

    def disturb(self, chance: random.Random) -> None:
        """Kill the server or a worker and start it again, or stop a worker for a while."""
        fault = chance.choices(
            ["worker killed", "server killed", "worker asleep"], weights=[6, 2, 1]
        )[0]
        self.faults[fault] += 1
        if fault == "server killed":
            self._server.kill()
            self._server = self._start_server()
            return
        worker = chance.choice(self._workers)
        if fault == "worker killed":
            self._workers.remove(worker)
            worker.kill()
            self.add_worker()
            return
        with self.asleep(self._workers.index(worker)):
            time.sleep(ASLEEP_S)

    @contextlib.contextmanager
    def asleep(self, number: int) -> Iterator[None]:
        """Stop a worker for the length of the block; its runner goes on."""
        worker = self._workers[number]
        worker.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            worker.signal(signal.SIGCONT)

    def counts(self) -> tuple[int, int]:
        """Return how many tasks wait, and how many run."""
        pool = self._ask("GET", "/coding-pool")
        return pool["waiting"], pool["running"]

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until no task waits or runs."""
        wait_until(lambda: self.counts() == (0, 0), "all tasks have ended", timeout_s)

    def findings(self) -> Findings:
        """Stop the workers, and look at all that there is."""
        faults = self._stop_workers()
        tasks = [self._ask("GET", f"/coding-tasks/{each}") for each in self._filed.values()]
        listed = len(self._ask("GET", "/coding-tasks"))
        if listed != len(tasks):
            faults.append(f"{len(tasks)} tasks were filed, and there are {listed}")
        attempts = [attempt for task in tasks for attempt in task["attempts"]]
        for task in tasks:
            faults += _faults_of(task)
        branches = self.repository.branches
        known = {
            (int(task["task"]["task_id"]), attempt["attempt"])
            for task in tasks
            for attempt in task["attempts"]
        }
        faults += [f"branch {name} is nobody's" for name in branches if not _is_of(name, known)]
        for task in tasks:
            if task["state"] == "succeeded":
                branch = _branch_of(task)
                if branch not in branches:
                    faults.append(f"branch {branch} of a task that succeeded is missing")
                elif self.repository.file(branch, "half.py") != coding.RIGHT.strip():
                    faults.append(f"branch {branch} holds something else")
        faults += [f"{each} is left" for each in self._left()]
        return Findings(
            states=Counter(task["state"] for task in tasks),
            outcomes=Counter(str(attempt["outcome"]) for attempt in attempts),
            refused=sum("AttemptLostError" in str(each["error"]) for each in attempts),
            branches=len(branches) - 1,
            faults=tuple(faults),
        )

    def close(self) -> None:
        """End everything."""
        for process in [*self._workers, self._server]:
            if process.running:
                process.signal(signal.SIGCONT)
                process.kill()

    def _stop_workers(self) -> list[str]:
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        codes = [worker.wait() for worker in self._workers]
        return [f"a worker ended with {code}" for code in codes if code]

    def _left(self) -> list[str]:
        """Return what remains of attempts: directories, and processes."""
        wait_until(lambda: not self._processes(), "the processes of attempts have ended", 60)
        return [str(path.name) for path in (self.path / "tmp").iterdir()]

    def _processes(self) -> list[str]:
        marker = f"TMPDIR={self.path}/tmp".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if marker in (entry / "environ").read_bytes():
                        found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
        return found

    def _start_server(self) -> Process:
        arguments = ["server", "--port", str(self._port), "--data", str(self.path / "data")]
        process = self._start(arguments, {})
        process.listening()
        return process

    def _start(self, arguments: list[str], environment: Mapping[str, str]) -> Process:
        self._started += 1
        common = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path),
            "LANG": "C.UTF-8",
            "KERUTA_BASE_DIR": str(self.path / "base"),
        }
        outputs = self.path / f"process-{self._started}"
        return Process(
            arguments, {**common, **self._urls, **environment}, outputs, forks=self._forks
        )

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        """Ask the server, again while it is away."""
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                answer = requests.request(method, self._url + path, timeout=10, **more)
                if answer.status_code < 500:
                    assert answer.ok, answer.text
                    return answer.json()
            except requests.RequestException:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, "the server does not come back"
            time.sleep(0.1)


def _branch_of(task: Mapping[str, Any]) -> str:
    attempt = next(each for each in task["attempts"] if each["outcome"] == "succeeded")
    return str(attempt["result"]["push_result"]["branch_name"])


def _faults_of(task: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with an ended task."""
    outcomes = [attempt["outcome"] for attempt in task["attempts"]]
    name = f"task {task['task']['task_id']}"
    faults = []
    if task["state"] != "succeeded":
        faults.append(f"{name} is {task['state']}: {task['error']}")
    if outcomes.count("succeeded") != 1:
        faults.append(f"{name} has ended {outcomes.count('succeeded')} times: {outcomes}")
    if None in outcomes:
        faults.append(f"{name} has an attempt without an end: {outcomes}")
    return faults


def _is_of(branch: str, known: set[tuple[int, int]]) -> bool:
    """Return whether a branch belongs to a recorded attempt."""
    if branch == "main":
        return True
    found = _BRANCH.fullmatch(branch)
    return found is not None and (int(found.group(1)), int(found.group(2) or 1)) in known


def solving(delay_s: float = 0.0) -> Script:
    """Return a model's script that solves the project at once, after a while."""
    [answer] = coding.says(coding.RIGHT)
    assert isinstance(answer, str)
    return lambda _: Turn(content=answer, delay_s=delay_s)


@contextlib.contextmanager
def killed_pool(
    path: Path, *, delay_s: float = 0.0, script: Script | None = None, **more: Any
) -> Iterator[KilledPool]:
    """Give a pool with a model that answers after a while, for the length of the block."""
    with (
        ScriptedModel(script or solving(delay_s)).serving() as model,
        contextlib.closing(KilledPool(path, model, **more)) as pool,
    ):
        yield pool
