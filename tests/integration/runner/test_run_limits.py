"""Runs that have no more time, or are stopped."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from keruta_agent.runner import RunnerResult
from keruta_agent.testing.language_model import Turn
from tests.helpers.coding import (
    RIGHT,
    TESTS,
    runner_with,
    says,
    slot_in,
    task,
)
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import Around


def _lent(around: Around) -> int:
    return sum(int(pool["allocated"]) for pool in around.pool.get_pools_status()["pools"])


def test_time_limit_interrupts_the_tests(tmp_path: Path, repository: Repository) -> None:
    slot = slot_in(tmp_path, repository)
    slow = task(slot_path=str(slot), test_commands=["sleep 1000"], timeout_seconds=2)
    with runner_with(tmp_path, says(RIGHT), test_timeout_seconds=900) as (runner, _):
        result = runner.run(slow)

    assert (result.success, result.error_type) == (False, "TimeoutError")
    assert result.duration_seconds < 500


def test_tests_that_hang_before_any_change_end_the_run_before_the_model_is_asked(
    tmp_path: Path, repository: Repository
) -> None:
    slot = slot_in(tmp_path, repository)
    slow = task(slot_path=str(slot), test_commands=["true", "sleep 1000"])
    with runner_with(tmp_path, says(RIGHT), test_timeout_seconds=1) as (runner, model):
        result = runner.run(slow)

    assert (result.success, result.error_type) == (False, "HangingTestsError")
    assert "'sleep 1000' took longer" in str(result.error)
    assert model.requests == []


def test_hanging_tests_that_are_not_run_first_may_be_what_is_to_be_mended(
    tmp_path: Path, repository: Repository
) -> None:
    slot = slot_in(tmp_path, repository)
    hanging = f"while grep -q 'return number$' half.py; do sleep 1; done; {TESTS}"
    mend = task(slot_path=str(slot), test_commands=[hanging], metadata={"baseline": False})
    with runner_with(tmp_path, says(RIGHT), test_timeout_seconds=30) as (runner, _):
        result = runner.run(mend)

    assert result.success, result.error


def test_time_limit_interrupts_the_push(tmp_path: Path, repository: Repository) -> None:
    hook = repository.path / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexec sleep 1000\n")
    hook.chmod(0o755)
    slot = slot_in(tmp_path, repository)
    with runner_with(tmp_path, says(RIGHT)) as (runner, _):
        result = runner.run(task(slot_path=str(slot), timeout_seconds=15))

    assert (result.success, result.error_type) == (False, "TimeoutError")
    assert "longer than 15 s" in str(result.error)
    assert result.impl_result is not None
    assert result.impl_result.diff


def test_time_limit_interrupts_the_model(tmp_path: Path, repository: Repository) -> None:
    slot = slot_in(tmp_path, repository)
    with runner_with(tmp_path, [Turn(content="x", delay_s=600)]) as (runner, _):
        result = runner.run(task(slot_path=str(slot), test_commands=[], timeout_seconds=2))

    assert (result.success, result.error_type) == (False, "TimeoutError")


def test_run_that_is_stopped_is_cancelled_and_gives_its_slot_back(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    stopping = threading.Event()

    def stop(request: Any) -> Turn:
        stopping.set()
        return Turn(content="x", delay_s=600)

    with runner_with(tmp_path, stop, around, stopping=stopping) as (runner, _):
        result: RunnerResult = runner.run(task(repository))

    assert (result.success, result.error_type) == (False, "StoppedError")
    assert around.registry.get_task("1.1", spec_name="数学")["status"] == "cancelled"
    assert _lent(around) == 0
