"""What became of the requests is counted, for the agent's metrics."""

from __future__ import annotations

import pytest
import requests
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import StatusReport, TaskStatus
from tests.helpers.keruta_wire import API, TaskBody


def test_new_client_has_counted_nothing(client: KerutaClient) -> None:
    counts = client.call_counts()
    assert (dict(counts.results), counts.retries) == ({}, 0)


def test_requests_are_counted_by_the_class_of_their_answer(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(f"{API}/tasks/t1", json=task_body())
    wire.get(f"{API}/tasks/t2", status_code=404)

    client.task("t1")
    client.task("t1")
    with pytest.raises(errors.ApiNotFound):
        client.task("t2")

    assert client.call_counts().results == {"2xx": 2, "4xx": 1}


def test_tries_of_a_read_are_counted_with_their_end(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    answers = [{"exc": requests.ConnectionError}, {"status_code": 503}, {"json": task_body()}]
    wire.get(f"{API}/tasks/t1", answers)

    client.task("t1")

    counts = client.call_counts()
    assert counts.results == {"unreachable": 1, "5xx": 1, "2xx": 1}
    assert counts.retries == 2


def test_write_whose_answer_was_lost_is_distinguished_from_one_that_never_left(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.put(
        f"{API}/tasks/t1/status", [{"exc": requests.ReadTimeout}, {"exc": requests.ConnectTimeout}]
    )
    report = StatusReport(status=TaskStatus.COMPLETED)

    for expected in (errors.ApiAmbiguous, errors.ApiUnreachable):
        with pytest.raises(expected):
            client.write_status("t1", report, key="k")

    assert client.call_counts().results == {"lost": 1, "unreachable": 1}
