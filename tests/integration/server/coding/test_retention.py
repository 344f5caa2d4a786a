"""Ended coding tasks go with their attempts; others stay, and so does one that is tried again."""

from __future__ import annotations

from keruta_agent.server.coding import attempts
from keruta_agent.server.retention import rounds
from keruta_agent.server.retention.policy import Limit, Policy
from keruta_agent.server.retention.pruned import Pruned
from keruta_agent.server.retention.pruner import Pruner
from keruta_agent.server.store.statements import statement
from tests.helpers.coding_pool import FAILED, SUCCEEDED, Pool


def _prune(pool: Pool, limit: Limit) -> Pruned:
    return sum(rounds.prune(pool.store, Policy(coding=limit)), Pruned())


def _ended(pool: Pool, number: int) -> str:
    task = pool.file(str(number))
    attempts.end(pool.database, pool.claim(), SUCCEEDED if number % 2 else FAILED)
    return task


def _attempts(pool: Pool) -> int:
    with pool.database.connected():
        count = pool.database.run(statement("SELECT COUNT(*) FROM coding_attempts"))
        return int(count.fetchone()[0])


def test_ended_tasks_go_with_their_attempts_and_others_stay(pool: Pool) -> None:
    for number in range(3):
        _ended(pool, number)
    again = _ended(pool, 4)
    pool.api.send("POST", f"/coding-tasks/{again}/retry", None)
    pool.claim()
    waiting = pool.file("5")
    now = Limit(age_s=0.0)
    assert Pruner(pool.store, Policy(coding=now)).due() == Pruned(coding_tasks=3)
    assert _prune(pool, now) == Pruned(coding_tasks=3)
    assert {task["id"] for task in pool.api.get("/coding-tasks")} == {again, waiting}
    assert _attempts(pool) == 2


def test_newest_stay_by_number(pool: Pool) -> None:
    tasks = [_ended(pool, number) for number in range(5)]
    assert _prune(pool, Limit(count=2)) == Pruned(coding_tasks=3)
    assert {task["id"] for task in pool.api.get("/coding-tasks")} == {*tasks[3:]}
    assert _prune(pool, Limit(count=0)) == Pruned(coding_tasks=2)


def test_late_end_of_a_pruned_task_changes_nothing(pool: Pool) -> None:
    pool.file()
    claim = pool.claim()
    attempts.end(pool.database, claim, SUCCEEDED)
    _prune(pool, Limit(count=0))
    assert attempts.end(pool.database, claim, FAILED) is None
    assert not attempts.may_push(pool.database, claim, 60)
