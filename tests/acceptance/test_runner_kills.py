"""``kill -9`` in the middle of a coding task, and many runners over one pool."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.runner import RunnerOrchestrator
from keruta_agent.testing.language_model import ScriptedModel
from tests.helpers import coding
from tests.helpers.coding import BRANCH, KEY, RIGHT, TOKEN
from tests.helpers.coding_world import CodingWorld, coding_world
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import runner_services


@pytest.fixture
def world(tmp_path: Path) -> Iterator[CodingWorld]:
    with coding_world(tmp_path, pool_size=3) as found:
        yield found


@pytest.mark.parametrize(
    "moment", ["works in slot", "tests the change of round 1", "commits the change", "stores diff"]
)
def test_killed_run_is_done_again_and_nothing_is_lost(world: CodingWorld, moment: str) -> None:
    world.kill_at(moment)

    before = world.repository.branches
    slots = world.slots()
    done = world.run()

    assert done.returncode == 0, done.stdout
    assert world.repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")
    assert world.lost(before) == []
    # What the killed one held comes back by itself.
    held = [slot for slot in slots if slot["state"] == "allocated"]
    assert all(0 < float(slot["expires_in_seconds"]) <= 60 for slot in held)
    assert len(held) == (0 if moment == "stores diff" else 1)
    still = [slot["slot_id"] for slot in world.slots() if slot["state"] == "allocated"]
    assert still == [slot["slot_id"] for slot in held]
    assert world.files_with(KEY, TOKEN) == []


def test_runners_share_a_pool(tmp_path: Path) -> None:
    repository: Repository = coding.project(tmp_path / "project.git")
    with (
        runner_services(tmp_path / "services", pool_size=2) as around,
        ScriptedModel(coding.fixing).serving() as model,
        concurrent.futures.ThreadPoolExecutor(3) as pool,
    ):
        config = coding.config(model, around, tmp_path)

        def solve(number: int) -> str | None:
            context = coding.task(
                repository, task_id=str(number), branch_name=f"feature/{number}", test_commands=[]
            )
            return RunnerOrchestrator(config).run(context).error

        assert list(pool.map(solve, range(6))) == [None] * 6
        assert sorted(repository.branches) == [*(f"feature/{n}" for n in range(6)), "main"]
        (slots,) = around.pool.get_pools_status()["pools"]
        assert (slots["allocated"], len(slots["slots"])) == (0, 2)
