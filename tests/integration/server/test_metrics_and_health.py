"""Measurements and health over the API."""

from __future__ import annotations

import pytest

from tests.helpers.api_caller import ApiCaller


def test_metrics_are_listed_newest_first(api: ApiCaller) -> None:
    task = api.task()["id"]
    for body in ({"durationMs": 5, "nested": {"a": [1]}}, {}):
        stored = api.send("POST", f"/tasks/{task}/metrics", body, status=201)
        assert (stored["metrics"], stored["taskId"]) == (body, task)
    listed = api.get(f"/tasks/{task}/metrics")
    assert [entry["metrics"] for entry in listed] == [{}, {"durationMs": 5, "nested": {"a": [1]}}]


def test_series_of_a_long_run_comes_back_as_it_was(api: ApiCaller) -> None:
    task = api.task()["id"]
    series = {
        "elapsedS": [point * 15.5 for point in range(300)],
        "cpuPercent": [point / 3 for point in range(300)],
        "memoryBytes": [10**12 + point for point in range(300)],
    }
    api.send("POST", f"/tasks/{task}/metrics", {"durationMs": 5, "series": series}, status=201)
    (listed,) = api.get(f"/tasks/{task}/metrics")
    assert listed["metrics"]["series"] == series


@pytest.mark.parametrize("body", ["[1]", '"text"', "5", "null"])
def test_metrics_that_are_no_object_are_refused(api: ApiCaller, body: str) -> None:
    path = f"/tasks/{api.task()['id']}/metrics"
    response = api.call("POST", path, data=body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["error"]["field"] == "body"


def test_metrics_of_unknown_task_are_missing(api: ApiCaller) -> None:
    for method, body in (("POST", {}), ("GET", None)):
        assert api.call(method, "/tasks/unknown/metrics", json=body).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/api/v1/health"])
def test_health_says_up(api: ApiCaller, path: str) -> None:
    answer = api.get(path)
    assert answer["status"] == "UP"
    assert answer["timestamp"].endswith("Z")
