"""Repeated writes are recognised by their key."""

from __future__ import annotations

from typing import Any

import pytest

from keruta_agent.server.store import changes
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.changes import ANSWERS_KEPT_US
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller


def test_log_batch_repeated_under_its_key_is_stored_once(api: ApiCaller) -> None:
    task = api.task()["id"]
    batch = [{"message": "a"}, {"message": "b"}]
    for _ in range(3):
        answer = api.send("POST", f"/tasks/{task}/logs", batch, status=201, key="range-0-2")
        assert answer == {"stored": 2}
    assert api.get(f"/tasks/{task}/logs/count") == {"count": 2}


def test_key_means_something_else_for_another_task(api: ApiCaller) -> None:
    for task in (api.task()["id"], api.task()["id"]):
        api.send("POST", f"/tasks/{task}/logs", [{"message": "a"}], status=201, key="same")
        assert api.get(f"/tasks/{task}/logs/count") == {"count": 1}


def test_task_created_under_a_repeated_key_is_one(api: ApiCaller) -> None:
    session = api.session()["id"]
    draft = {"sessionId": session, "name": "once"}
    first = api.send("POST", "/tasks", draft, status=201, key=f"{session}-1")
    assert api.send("POST", "/tasks", draft, status=201, key=f"{session}-1") == first
    assert len(api.get(f"/sessions/{session}/tasks")) == 1


def test_status_repeated_under_its_key_does_not_move_back(api: ApiCaller) -> None:
    task = api.task()["id"]
    started = {"status": "PROCESSING"}
    first = api.send("PUT", f"/tasks/{task}/status", started, key="start")
    api.move(task, "COMPLETED")
    response = api.call(
        "PUT", f"/tasks/{task}/status", json=started, headers={"Idempotency-Key": "start"}
    )
    assert (response.status_code, response.json()) == (200, first)
    assert response.headers["Idempotency-Replayed"] == "true"
    assert api.get(f"/tasks/{task}")["status"] == "COMPLETED"


def test_auto_fix_repeated_under_its_key_is_one_task(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "FAILED")
    path, body = f"/tasks/{task}/auto-fix", {"errorMessage": "x"}
    first = api.send("POST", path, body, status=201, key="fix")
    assert api.send("POST", path, body, status=201, key="fix") == first
    assert len(api.get(f"/tasks/{task}/subtasks")) == 1


def test_refused_write_may_be_tried_again_under_its_key(api: ApiCaller) -> None:
    task = api.task()["id"]
    body: Any = {"status": "nope"}
    api.send("PUT", f"/tasks/{task}/status", body, status=400, key="k")
    api.send("PUT", f"/tasks/{task}/status", {"status": "PROCESSING"}, key="k")
    api.move(task, "COMPLETED")
    api.send("PATCH", f"/tasks/{task}/progress", {"progress": 1}, status=409, key="p")
    api.send("PATCH", f"/tasks/{task}/progress", {"progress": 1}, status=409, key="p")

    assert api.get(f"/tasks/{task}")["status"] == "COMPLETED"


@pytest.mark.parametrize("key", ["x" * 256, "a b", "ü"])
def test_key_that_makes_no_sense_is_refused(api: ApiCaller, key: str) -> None:
    task = api.task()["id"]
    api.send("PUT", f"/tasks/{task}/status", {"status": "FAILED"}, status=400, key=key)
    assert api.get(f"/tasks/{task}")["status"] == "PENDING"


def test_answers_are_forgotten_after_a_week(
    api: ApiCaller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "FORGOTTEN_AT_ONCE", 2)
    task = api.task()["id"]
    for key in ("old", "older", "oldest", "young"):
        api.send("POST", f"/tasks/{task}/logs", [{"message": "a"}], status=201, key=key)
    answers = store.tables.answers
    scope = f"POST /api/v1/tasks/{task}/logs"
    with store.database.connected():
        answers.update(created_at=t.now() - ANSWERS_KEPT_US - 1).where(
            (answers.scope == scope) & (answers.key != "young")
        ).execute()
        store.changes.forget_old_answers()
        kept = [row["key"] for row in answers.select().where(answers.scope == scope).dicts()]
    assert kept == ["young"]
