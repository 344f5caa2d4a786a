"""Filing, listing and steering coding tasks over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from keruta_agent.server.coding import attempts
from tests.helpers.coding_pool import FAILED, SUCCEEDED, Pool

TASK = {"task_id": "t", "spec_name": "s", "title": "修理", "description": "直す。"}


@pytest.fixture
def database_url() -> str | None:
    """Say that what HTTP adds is the same on every database."""
    return None


def _refused(pool: Pool, task: Any, **values: Any) -> str:
    answer = pool.api.call("POST", "/coding-tasks", json={"task": task, **values})
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def test_filed_task_waits_and_tells_what_its_author_said(pool: Pool) -> None:
    task = TASK | {"metadata": {"repo_url": "https://git.example.org/a.git"}}
    filed = pool.api.send("POST", "/coding-tasks", {"task": task, "priority": 3}, status=201)
    assert (filed["state"], filed["priority"], filed["attempt"]) == ("waiting", 3, 0)
    assert filed["name"] == "修理"
    assert filed["task"] == task


def test_repeated_key_files_one_task(pool: Pool) -> None:
    body = {"task": TASK | {"repo_url": "https://git.example.org/a.git"}}
    first, second = (
        pool.api.send("POST", "/coding-tasks", body, status=201, key="k") for _ in range(2)
    )
    assert first["id"] == second["id"]
    assert len(pool.api.get("/coding-tasks")) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"title": ""}, "title is required"),
        ({"branch_name": "main"}, "main"),
        ({"repo_url": "https://me:secret@git.example.org/a.git"}, "must hold no password"),
        ({"no_such_field": 1}, "no_such_field"),
        ({"description": "x" * 100_001}, "at most 100000"),
    ],
)
def test_task_that_can_never_run_is_refused(pool: Pool, change: dict[str, Any], says: str) -> None:
    refusal = _refused(pool, TASK | {"repo_url": "https://git.example.org/a.git"} | change)
    assert says in refusal
    assert "secret@" not in refusal
    assert pool.api.get("/coding-tasks") == []


def test_list_has_pages_and_is_filtered_by_state(pool: Pool) -> None:
    filed = [pool.file(str(number)) for number in range(3)]
    attempts.end(pool.database, pool.claim(), SUCCEEDED)
    page = pool.api.get("/coding-tasks?size=2")
    assert [task["id"] for task in page] == [filed[2], filed[1]]
    assert [task["id"] for task in pool.api.get("/coding-tasks?state=succeeded")] == [filed[0]]


def test_waiting_task_is_cancelled_at_once(pool: Pool) -> None:
    task_id = pool.file()
    answer = pool.api.send("POST", f"/coding-tasks/{task_id}/cancel", {"reason": "未使用"})
    assert (answer["state"], answer["error"]) == ("cancelled", "未使用")
    assert attempts.claim_next(pool.database, "w", 60) is None


def test_ended_task_cannot_be_cancelled(pool: Pool) -> None:
    task_id = pool.file()
    attempts.end(pool.database, pool.claim(), SUCCEEDED)
    answer = pool.api.call("POST", f"/coding-tasks/{task_id}/cancel", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "TASK_ENDED")


def test_failed_task_is_tried_once_more_and_no_other(pool: Pool) -> None:
    task_id = pool.file()
    assert pool.api.call("POST", f"/coding-tasks/{task_id}/retry").status_code == 409
    attempts.end(pool.database, pool.claim(), FAILED)
    assert pool.api.send("POST", f"/coding-tasks/{task_id}/retry", None)["state"] == "waiting"
    assert pool.claim().attempt == 2


def test_unknown_task_is_404(pool: Pool) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("POST", "/retry")):
        body = {"json": {}} if method == "POST" else {}
        assert pool.api.call(method, f"/coding-tasks/none{path}", **body).status_code == 404


def test_pool_tells_what_waits_and_why_it_is_paused(pool: Pool) -> None:
    pool.file("1")
    pool.file("2")
    pool.claim()
    assert pool.api.get("/coding-pool") == {
        "paused": None,
        "waiting": 1,
        "running": 1,
        "states": {"waiting": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0},
        "workers": [],
    }
    pool.api.send("POST", "/coding-pool/pause", {"reason": "repairs"})
    assert pool.api.get("/coding-pool")["paused"] == "repairs"
