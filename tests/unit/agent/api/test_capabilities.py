"""Memory of what a server lacks, with a clock in the hands of the test."""

from __future__ import annotations

import logging

import pytest
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.agent.api.capabilities import REPROBE_AFTER_S, Capabilities
from keruta_agent.core import errors
from tests.helpers.keruta_wire import API, SPRING_500, Sent, TaskBody


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_capability_is_neither_present_nor_missing_at_first() -> None:
    capabilities = Capabilities()

    assert not capabilities.lacks("x")
    assert not capabilities.has("x")


def test_capability_that_is_missing_is_asked_for_again_after_a_while() -> None:
    clock = _Clock()
    capabilities = Capabilities(clock=clock)

    capabilities.learn_missing("x")
    clock.now += REPROBE_AFTER_S - 1
    assert capabilities.lacks("x")
    clock.now += 1
    assert not capabilities.lacks("x")


def test_capability_that_appears_is_no_longer_missing() -> None:
    capabilities = Capabilities()

    capabilities.learn_missing("x")
    capabilities.learn_present("x")

    assert capabilities.has("x")
    assert not capabilities.lacks("x")


def test_capability_that_is_missing_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = _Clock()
    capabilities = Capabilities(clock=clock)

    with caplog.at_level(logging.INFO):
        capabilities.learn_missing("artifact store")
        clock.now += REPROBE_AFTER_S
        capabilities.learn_missing("artifact store")

    assert [record.getMessage() for record in caplog.records] == [
        "the server has no artifact store"
    ]


@pytest.mark.parametrize("status", [405, 415, 501])
def test_missing_route_is_asked_once(
    status: int, client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", status_code=status)

    for _ in range(3):
        with pytest.raises(errors.ApiUnsupported, match="metrics"):
            client.send_metrics("t1", {"durationMs": 1}, key="k")

    assert sent() == [("POST", "/tasks/t1/metrics")]


def test_missing_route_that_answers_500_is_asked_twice_with_a_look_at_the_task_between(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", **SPRING_500)
    wire.get(f"{API}/tasks/t1", json=task_body())

    for _ in range(3):
        with pytest.raises(errors.ApiUnsupported, match="metrics"):
            client.send_metrics("t1", {"durationMs": 1}, key="k")

    metrics = ("POST", "/tasks/t1/metrics")
    assert sent() == [metrics, ("GET", "/tasks/t1"), metrics]


def test_server_that_is_broken_as_a_whole_lacks_nothing(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", [SPRING_500, {"status_code": 201}])
    wire.get(f"{API}/tasks/t1", **SPRING_500)

    with pytest.raises(errors.ApiFailed):
        client.send_metrics("t1", {}, key="k")
    client.send_metrics("t1", {}, key="k")


def test_failure_of_a_moment_is_not_taken_for_a_missing_route(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    sent = wire.post(f"{API}/tasks/t1/metrics", [SPRING_500, {"status_code": 201}])
    wire.get(f"{API}/tasks/t1", json=task_body())

    client.send_metrics("t1", {}, key="k")
    client.send_metrics("t1", {}, key="k")

    assert sent.call_count == 3, "once again after the failure, and once for the second"


def test_missing_route_is_asked_again_when_the_memory_is_old(
    wire: requests_mock.Mocker,
) -> None:
    clock = _Clock()
    wire.post(f"{API}/tasks/t1/metrics", [{"status_code": 501}, {"status_code": 204}])

    with KerutaClient("http://keruta.test", capabilities=Capabilities(clock=clock)) as client:
        with pytest.raises(errors.ApiUnsupported):
            client.send_metrics("t1", {}, key="k")
        clock.now += REPROBE_AFTER_S
        client.send_metrics("t1", {}, key="k")

    assert wire.call_count == 2


def test_missing_route_of_one_feature_says_nothing_of_the_others(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", status_code=501)
    wire.post(f"{API}/tasks/t1/auto-fix", status_code=201)

    with pytest.raises(errors.ApiUnsupported):
        client.send_metrics("t1", {}, key="k")
    client.request_auto_fix("t1", error_message="boom", error_code="E1", key="k")

    assert wire.last_request.json() == {"errorMessage": "boom", "errorCode": "E1"}


def test_404_of_an_optional_route_with_an_existing_task_means_that_it_is_missing(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", status_code=404)
    wire.get(f"{API}/tasks/t1", json=task_body())

    for _ in range(2):
        with pytest.raises(errors.ApiUnsupported):
            client.send_metrics("t1", {}, key="k")

    assert sent() == [("POST", "/tasks/t1/metrics"), ("GET", "/tasks/t1")]


def test_404_of_an_optional_route_without_the_task_is_about_the_task(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", status_code=404, json={"error": {"message": "no t1"}})
    wire.get(f"{API}/tasks/t1", status_code=404)

    for _ in range(2):
        with pytest.raises(errors.ApiNotFound) as caught:
            client.send_metrics("t1", {}, key="k")
        assert not isinstance(caught.value, errors.ApiUnsupported)

    assert wire.call_count == 4


def test_404_of_an_optional_route_is_not_judged_when_the_task_cannot_be_read(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", status_code=404)
    wire.get(f"{API}/tasks/t1", status_code=503)

    with pytest.raises(errors.ApiOverloaded):
        client.send_metrics("t1", {}, key="k")


@pytest.mark.parametrize(
    ("status", "expected"), [(500, errors.ApiFailed), (404, errors.ApiNotFound)]
)
def test_route_that_worked_before_is_not_taken_for_missing(
    status: int,
    expected: type[errors.ApiError],
    client: KerutaClient,
    wire: requests_mock.Mocker,
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", [{"status_code": 201}, {"status_code": status}])

    client.send_metrics("t1", {}, key="k1")
    with pytest.raises(expected) as caught:
        client.send_metrics("t1", {}, key="k2")

    assert type(caught.value) is expected


@pytest.mark.parametrize("status", [401, 409, 429, 503])
def test_other_answers_of_an_optional_route_are_not_remembered(
    status: int, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(f"{API}/tasks/t1/metrics", [{"status_code": status}, {"status_code": 201}])

    with pytest.raises(errors.ApiError) as caught:
        client.send_metrics("t1", {}, key="k")
    assert not isinstance(caught.value, errors.ApiUnsupported)
    client.send_metrics("t1", {}, key="k")
