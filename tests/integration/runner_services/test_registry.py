"""What runners say of tasks is kept, and told apart."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.server.runner_services.serve import REGISTRY
from tests.helpers.runner_services import Around


def test_task_comes_into_being_when_it_is_spoken_of_and_keeps_what_was_said(
    around: Around,
) -> None:
    registry = around.registry
    registry.update_task_status("a.1", "in_progress", {"runner_id": "r1", "spec_name": "chat"})
    registry.add_event("a.1", "implementation_started", {"round": 1})
    registry.add_artifact("a.1", "diff", "http://store/artifacts/1", 12, {"title": "日本語"})
    registry.update_task_status("a.1", "done", {"branch_name": "feature/a"})

    task = registry.get_task("a.1")

    assert (task["status"], task["state"], task["spec_name"]) == ("done", "done", "chat")
    assert task["metadata"] == {
        "runner_id": "r1",
        "spec_name": "chat",
        "branch_name": "feature/a",
    }
    assert [(entry["status"], entry["metadata"]) for entry in task["history"]] == [
        ("in_progress", {"runner_id": "r1", "spec_name": "chat"}),
        ("done", {"branch_name": "feature/a"}),
    ]
    assert [(event["event_type"], event["data"]) for event in task["events"]] == [
        ("implementation_started", {"round": 1})
    ]
    assert [(one["uri"], one["size_bytes"]) for one in task["artifacts"]] == [
        ("http://store/artifacts/1", 12)
    ]
    times = [entry["said_at"] for entry in task["history"]]
    assert times == sorted(times) and times[0] <= task["history"][0]["recorded_at"]


def test_status_in_progress_is_the_registrys_running(around: Around) -> None:
    around.registry.update_task_status("a.2", "in_progress")

    task = around.registry.get_task("a.2")

    assert (task["status"], task["state"]) == ("in_progress", "running")


def test_status_that_nobody_knows_is_kept_as_it_was_said(around: Around) -> None:
    around.registry.update_task_status("a.3", "考え中")

    task = around.registry.get_task("a.3")

    assert (task["status"], task["state"]) == ("考え中", None)


def test_tasks_of_two_specs_with_the_same_id_are_told_apart(around: Around) -> None:
    registry = around.registry
    registry.update_task_status("1.1", "done", {"spec_name": "chat"})
    registry.update_task_status("1.1", "failed", {"spec_name": "shop"})
    registry.add_event("1.1", "TaskFailed", {"spec_name": "shop"})
    registry.add_event("1.1", "Late", {}, spec_name="chat")

    chat = registry.get_task("1.1", spec_name="chat")
    shop = registry.get_task("1.1", spec_name="shop")

    assert (chat["status"], shop["status"]) == ("done", "failed")
    assert [event["event_type"] for event in chat["events"]] == ["Late"]
    assert [event["event_type"] for event in shop["events"]] == ["TaskFailed"]
    with pytest.raises(errors.ServiceError, match=r"AMBIGUOUS_TASK.*chat, shop"):
        registry.get_task("1.1")
    with pytest.raises(errors.ServiceError, match=r"Failed to update the status.*spec_name"):
        registry.update_task_status("1.1", "done")


def test_report_without_a_spec_belongs_to_the_spec_that_speaks_up_later(around: Around) -> None:
    registry = around.registry
    registry.add_event("b.1", "early", {})
    registry.update_task_status("b.1", "done", {"spec_name": "chat"})
    registry.add_event("b.1", "late", {})

    task = registry.get_task("b.1", spec_name="chat")

    assert [event["event_type"] for event in task["events"]] == ["early", "late"]
    with pytest.raises(errors.ServiceError, match="TASK_NOT_FOUND"):
        registry.get_task("b.1", spec_name="shop")


@pytest.mark.parametrize("task_id", ["../admin?x=1", "a b#c", "タスク 1", "50%", "a&b=c"])
def test_strange_ids_are_ids_and_no_paths(around: Around, task_id: str) -> None:
    around.registry.update_task_status(task_id, "done")

    assert around.registry.get_task(task_id)["status"] == "done"


def test_tasks_are_listed_by_spec_in_pages(around: Around) -> None:
    for number in range(5):
        around.registry.update_task_status(f"c.{number}", "done", {"spec_name": "listed"})
    url = f"{around.urls[REGISTRY]}/tasks"

    first = requests.get(url, params={"spec_name": "listed", "limit": "3"}, timeout=10).json()
    rest = requests.get(
        url, params={"spec_name": "listed", "after": str(first["next"])}, timeout=10
    ).json()

    ids = [task["task_id"] for page in (first, rest) for task in page["tasks"]]
    assert ids == [f"c.{number}" for number in range(5)]
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/tasks/x/status", {}, "status"),
        ("PUT", "/tasks/x/status", {"status": 5}, "status"),
        ("PUT", "/tasks/x/status", {"status": "done", "metadata": []}, "metadata"),
        ("PUT", "/tasks/x/status?spec_name=a%0Ab", {"status": "done"}, "spec_name"),
        ("PUT", "/tasks/x/status", {"status": "d", "metadata": {"spec_name": 7}}, "spec_name"),
        ("POST", "/tasks/x/events", {"data": {}}, "event_type"),
        ("POST", "/tasks/x/artifacts", {"type": "diff", "uri": "u"}, "size_bytes"),
        ("POST", "/tasks/x/artifacts", {"type": "d", "uri": "u", "size_bytes": -1}, "size_bytes"),
        ("GET", "/tasks?limit=0", None, "limit"),
    ],
)
def test_bad_input_is_refused_with_the_field_that_is_wrong(
    around: Around, method: str, path: str, body: Any, field: str
) -> None:
    url = f"{around.urls[REGISTRY]}{path}"

    response = requests.request(method, url, json=body, timeout=10)

    assert response.status_code == 400
    assert response.json()["error"]["field"] == field


def test_repeated_event_is_stored_once(around: Around) -> None:
    url = f"{around.urls[REGISTRY]}/tasks/d.1/events"
    for _ in range(2):
        response = requests.post(
            url, json={"event_type": "x"}, headers={"Idempotency-Key": "k1"}, timeout=10
        )
        assert response.status_code == 201

    assert len(around.registry.get_task("d.1")["events"]) == 1
