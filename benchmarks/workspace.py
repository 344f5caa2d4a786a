"""What a repository costs a task, as it grows old: 200 tasks in one of 50,000 files.

And whether two agents that push to one branch lose anything, in 50 rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
import threading
import time
import uuid
from pathlib import Path

from keruta_agent.agent.workspace import checkout, commit, push
from keruta_agent.agent.workspace.checkout import CheckoutRequest, Place
from keruta_agent.agent.workspace.commit import Message
from keruta_agent.agent.workspace.push import Target
from keruta_agent.git import clone, url
from keruta_agent.git.clone import Clone, CloneOptions
from keruta_agent.git.command import Git
from keruta_agent.git.scan import Limits
from tests.helpers.repositories import Repository, git, make_repository

SESSION = str(uuid.uuid4())
LIMITS = Limits(largest_file=1 << 20, holds_secret=lambda data: b"no such secret" in data)
FILES_IN_A_DIRECTORY = 100
#: Tasks around the named ones whose median is told: one alone says little on a busy machine.
NEIGHBOURS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent's clone."""

    directory: Path
    repository: Repository

    def open(self) -> Clone:
        """Return the clone, made if need be."""
        self.directory.mkdir(parents=True, exist_ok=True)
        address = url.parse(str(self.repository.path))
        return clone.open_or_make(
            Git(self.directory, timeout_s=600), address, CloneOptions(), lambda text: None
        )

    def prepare(self, task_id: str) -> Place:
        """Bring the clone to where a task begins."""
        request = CheckoutRequest(session_id=SESSION, task_id=task_id, run_uid="0123abcd")
        return checkout.prepare(self.open(), request, lambda text: None)

    def finish(self, place: Place, task_id: str) -> None:
        """Commit and push what the task changed."""
        message = Message(name="task", task_id=task_id, session_id=SESSION, run_uid="0123abcd")
        found = self.open()
        commit.commit_all(found, place, message, LIMITS, lambda text: None)
        target = Target(branch=place.branch, protected=frozenset({"main"}))
        push.push(found, target, LIMITS, lambda text: None)


def age(root: Path, tasks: int, files: int) -> None:
    """Print what preparing and finishing cost the first task, and the last."""
    content = {
        f"d{number // FILES_IN_A_DIRECTORY:03}/f{number:05}.txt": f"file {number}\n"
        for number in range(files)
    }
    agent = Agent(directory=root / "clone", repository=make_repository(root / "o.git", content))
    began = time.perf_counter()
    agent.open()
    print(f"clone of {files:,} files: {time.perf_counter() - began:.1f} s")
    prepared, finished = [], []
    for number in range(tasks):
        task_id = str(uuid.uuid4())
        began = time.perf_counter()
        place = agent.prepare(task_id)
        prepared.append(time.perf_counter() - began)
        (agent.directory / f"d{number % 50:03}" / "new.txt").write_text(f"{task_id}\n")
        began = time.perf_counter()
        agent.finish(place, task_id)
        finished.append(time.perf_counter() - began)
    first = prepared[0] * 1000
    print(f"task 1: prepare {first:.0f} ms (with the first checkout)")
    for number in sorted({2, tasks // 2, tasks}):
        around = slice(max(1, number - NEIGHBOURS), number + NEIGHBOURS)
        print(
            f"task {number}: prepare {statistics.median(prepared[around]) * 1000:.0f} ms, "
            f"commit and push {statistics.median(finished[around]) * 1000:.0f} ms"
        )
    branches = git(agent.directory, "for-each-ref", "--count=1000", "--format=x")
    print(f"refs in the clone: {len(branches.split())}")


def race(root: Path, rounds: int) -> None:
    """Lets two agents push to one branch at once, again and again, and counts what got lost."""
    repository = make_repository(root / "race.git")
    agents = [Agent(directory=root / name / "clone", repository=repository) for name in "ab"]
    task_id = str(uuid.uuid4())
    branch = ""
    for number in range(rounds):
        places = [agent.prepare(task_id) for agent in agents]
        threads = []
        for agent, place, name in zip(agents, places, "ab", strict=True):
            branch = place.branch
            (agent.directory / f"{name}-{number}").write_text("x\n")
            threads.append(threading.Thread(target=agent.finish, args=(place, task_id)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = set(repository.files(branch))
    wanted = {f"{name}-{number}" for name in "ab" for number in range(rounds)}
    commits = repository.count(branch) - 1
    print(
        f"race of two agents, {rounds} rounds: {len(wanted - found)} of {len(wanted)} changes lost,"
        f" {commits} commits on the branch"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=50)
    given = parser.parse_args()
    os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    with tempfile.TemporaryDirectory(prefix="keruta-benchmark-") as directory:
        age(Path(directory), given.tasks, given.files)
        race(Path(directory), given.rounds)


if __name__ == "__main__":
    main()
