"""Coding tasks are claimed once, leases end, and an earlier attempt changes nothing."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from keruta_agent.server.coding import announcements, attempts
from keruta_agent.server.coding.attempts import Claim, Ending, Outcome
from keruta_agent.server.store.statements import statement
from tests.helpers.coding_pool import FAILED, LONG_S, SUCCEEDED, UNAVAILABLE, Pool


def test_tasks_are_claimed_by_priority_then_age(pool: Pool) -> None:
    low, high, second = pool.file("1"), pool.file("2", priority=5), pool.file("3")
    assert [pool.claim().task_id for _ in range(3)] == [high, low, second]
    assert attempts.claim_next(pool.database, "w", LONG_S) is None


def test_next_task_is_found_without_sorting_all_that_wait(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, plans = pool.database, []

    def explain(query: Any, *values: Any) -> None:
        how = "EXPLAIN" if database.postgresql else "EXPLAIN QUERY PLAN"
        text = query.postgresql if database.postgresql else query.sqlite
        if database.postgresql:  # to sort no row is cheaper than anything
            database.peewee.execute_sql("SET LOCAL enable_sort = off")
        rows = database.peewee.execute_sql(f"{how} {text}", values).fetchall()
        plans.append("\n".join(str(row[-1]) for row in rows))

    monkeypatch.setattr(database, "one", explain)
    assert attempts.claim_next(database, "w", LONG_S) is None
    [plan] = plans
    assert "coding_tasks_next" in plan
    assert not re.search("TEMP B-TREE|Sort", plan), plan


def test_two_workers_never_claim_the_same_task(pool: Pool) -> None:
    filed = {pool.file(str(number)) for number in range(40)}
    claims: list[Claim] = []

    def work(name: str) -> None:
        while (claim := attempts.claim_next(pool.database, name, LONG_S)) is not None:
            claims.append(claim)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim.task_id for claim in claims) == sorted(filed)


def test_success_ends_the_task_with_its_result(pool: Pool) -> None:
    task_id = pool.file()
    assert attempts.end(pool.database, pool.claim(), SUCCEEDED) == "succeeded"
    task = pool.task(task_id)
    assert (task["state"], task["error"], task["attempt"]) == ("succeeded", None, 1)
    [attempt] = task["attempts"]
    assert (attempt["outcome"], attempt["result"]) == ("succeeded", {"success": True})


def test_failure_of_the_work_itself_is_not_tried_again(pool: Pool) -> None:
    task_id = pool.file(attempts=5)
    assert attempts.end(pool.database, pool.claim(), FAILED) == "failed"
    assert pool.task(task_id)["error"] == FAILED.error


def test_what_was_unavailable_is_tried_again_after_a_while_as_often_as_allowed(pool: Pool) -> None:
    task_id = pool.file(attempts=2)
    assert attempts.end(pool.database, pool.claim(), UNAVAILABLE) == "waiting"
    assert attempts.claim_next(pool.database, "w", LONG_S) is None
    pool.let_pass()
    assert attempts.end(pool.database, pool.claim(), UNAVAILABLE) == "failed"
    assert [attempt["outcome"] for attempt in pool.task(task_id)["attempts"]] == ["unavailable"] * 2


def test_attempt_whose_lease_ended_is_lost_and_its_late_result_is_evidence_only(
    pool: Pool,
) -> None:
    task_id = pool.file()
    first = pool.claim("dead")
    pool.let_pass()
    assert attempts.end_lapsed(pool.database) == [(task_id, "waiting")]
    assert not attempts.may_push(pool.database, first, LONG_S)
    pool.let_pass()
    second = pool.claim("alive")
    assert (second.task_id, second.attempt) == (task_id, 2)

    assert attempts.end(pool.database, first, SUCCEEDED) is None
    assert pool.state(task_id) == "running"
    assert not attempts.may_push(pool.database, first, LONG_S)
    assert attempts.may_push(pool.database, second, LONG_S)
    assert attempts.end(pool.database, second, FAILED) == "failed"
    late, last = pool.task(task_id)["attempts"]
    assert (late["outcome"], late["result"]) == ("late", {"success": True})
    assert last["outcome"] == "failed"


def test_end_that_is_stored_twice_counts_once(pool: Pool) -> None:
    task_id = pool.file()
    claim = pool.claim()
    assert attempts.end(pool.database, claim, SUCCEEDED) == "succeeded"
    assert attempts.end(pool.database, claim, SUCCEEDED) == "succeeded"
    assert [attempt["outcome"] for attempt in pool.task(task_id)["attempts"]] == ["succeeded"]


def test_renewed_lease_does_not_end(pool: Pool) -> None:
    pool.file()
    claim = pool.claim(lease_s=0)
    attempts.renew(pool.database, [claim], LONG_S)
    assert attempts.end_lapsed(pool.database) == []


def test_lost_attempts_count_and_the_last_one_fails_the_task(pool: Pool) -> None:
    task_id = pool.file(attempts=2)
    for expected in ("waiting", "failed"):
        pool.claim("dead")
        pool.let_pass()
        assert attempts.end_lapsed(pool.database) == [(task_id, expected)]
        pool.let_pass()
    assert "worker dead was silent" in pool.task(task_id)["error"]


def test_returned_attempt_does_not_count(pool: Pool) -> None:
    task_id = pool.file(attempts=1)
    returned = Ending(outcome=Outcome.RETURNED, error="the worker is stopping")
    assert attempts.end(pool.database, pool.claim(), returned) == "waiting"
    assert pool.claim().attempt == 2
    assert pool.task(task_id)["attemptsLeft"] == 0


@pytest.mark.parametrize("ending", [FAILED, UNAVAILABLE])
def test_cancelled_attempt_ends_its_task_as_cancelled(pool: Pool, ending: Ending) -> None:
    task_id = pool.file()
    claim = pool.claim()
    pool.api.send("POST", f"/coding-tasks/{task_id}/cancel", {"reason": "not needed"})
    assert attempts.to_stop(pool.database, [claim]) == {claim: "not needed"}
    assert not attempts.may_push(pool.database, claim, LONG_S)
    assert attempts.end(pool.database, claim, ending) == "cancelled"
    assert pool.task(task_id)["error"] == "not needed"


def test_paused_pool_gives_no_task_and_announces_none(pool: Pool) -> None:
    pool.file()
    pool.api.send("POST", "/coding-pool/pause", {"reason": "the model is down"})
    assert attempts.claim_next(pool.database, "w", LONG_S) is None
    assert announcements.due(pool.database) == []
    pool.api.send("POST", "/coding-pool/resume", None)
    assert len(announcements.due(pool.database)) == 1
    pool.claim()


def test_message_that_no_idle_runner_has_got_counts_as_lost_soon(pool: Pool) -> None:
    pool.file()
    [number] = announcements.due(pool.database)
    later = announcements.LOST_AFTER_IDLE_S + 1
    with pool.database.writing():
        pool.database.run(
            statement("UPDATE coding_tasks SET announced_at = announced_at - ?"),
            round(later * 1_000_000),
        )
    assert announcements.due(pool.database) == []
    assert announcements.due(pool.database, is_idle=True) == [number]


def test_task_is_announced_once_until_its_message_counts_as_lost(pool: Pool) -> None:
    pool.file()
    [number] = announcements.due(pool.database)
    assert announcements.due(pool.database) == []
    pool.let_pass()
    assert announcements.due(pool.database) == [number]
