"""Log entries as a list, one by one, and joined."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
import requests_mock
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.agent.api import KerutaClient, logs
from keruta_agent.core import errors
from keruta_agent.core.model import LogEntry, LogLevel
from tests.helpers.keruta_wire import API, SPRING_500

LOGS = f"{API}/tasks/t1/logs"


def _entry(message: str, **fields: Any) -> LogEntry:
    return LogEntry(**{"level": LogLevel.INFO, "message": message, "source": "stdout"} | fields)


def _task_is_there(wire: requests_mock.Mocker) -> None:
    wire.get(f"{API}/tasks/t1", json={"id": "t1"})


def _posted(wire: requests_mock.Mocker) -> list[Any]:
    return [request for request in wire.request_history if request.method == "POST"]


def _send_all(client: KerutaClient, entries: list[LogEntry], key: str) -> int:
    """Send entries as the outbox sender does, which notes after each call how far it came."""
    calls = done = 0
    while done < len(entries):
        done += client.send_logs("t1", entries[done:], key=f"{key}-{done}")
        calls += 1
    return calls


def _bodies(wire: requests_mock.Mocker) -> list[Any]:
    return [request.json() for request in _posted(wire)]


def test_logs_go_out_as_one_list_with_their_times(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(LOGS, status_code=201, json={"stored": 2})
    moment = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

    stored = client.send_logs(
        "t1",
        [_entry("一", timestamp=moment), _entry("two", source="agent", metadata={"a": 1})],
        key="k",
    )

    assert stored == 2
    assert _bodies(wire) == [
        [
            {
                "level": "INFO",
                "message": "一",
                "source": "stdout",
                "timestamp": "2026-05-04T03:02:01Z",
            },
            {"level": "INFO", "message": "two", "source": "agent", "metadata": {"a": 1}},
        ]
    ]
    assert wire.last_request.headers["Idempotency-Key"] == "k"


def test_logs_that_are_none_cost_no_request(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    assert client.send_logs("t1", [], key="k") == 0
    assert wire.call_count == 0


def test_logs_count_what_the_server_says_it_stored(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(LOGS, json={"stored": 1})

    assert client.send_logs("t1", [_entry("1"), _entry("2")], key="k") == 1


@pytest.mark.parametrize("body", ["", "[]", '{"stored": 99}', '{"stored": true}', "<html>"])
def test_logs_accepted_without_a_sensible_count_are_all_stored(
    body: str, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(LOGS, status_code=201, text=body)

    assert client.send_logs("t1", [_entry("1"), _entry("2")], key="k") == 2


@pytest.mark.parametrize("status", [400, 415, 422])
def test_logs_go_out_singly_where_lists_are_refused(
    status: int, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    created = {"status_code": 201, "json": {"id": "1"}}
    wire.post(LOGS, [{"status_code": status}, created])

    first = _send_all(client, [_entry("1", timestamp=datetime.now(UTC))], "a")
    second = _send_all(client, [_entry("2"), _entry("3")], "b")

    assert (first, second) == (1, 2)
    single = [body for body in _bodies(wire) if isinstance(body, dict)]
    assert single == [
        {"level": "INFO", "message": message, "source": "stdout"} for message in "123"
    ]
    assert len(_bodies(wire)) == 4
    keys = [request.headers["Idempotency-Key"] for request in wire.request_history]
    assert keys == ["a-0", "a-0-0", "b-0-0", "b-1-0"]


def test_logs_go_out_singly_on_a_server_that_fails_at_every_list(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    def answer(request: Any, context: Any) -> str:
        context.status_code = 500 if isinstance(request.json(), list) else 201
        return ""

    _task_is_there(wire)
    wire.post(re.compile(f"{API}/tasks/.*/logs"), text=answer)

    assert _send_all(client, [_entry("1"), _entry("2")], "k") == 2

    assert [type(body) for body in _bodies(wire)] == [list, list, dict, dict]
    asked_of_nobody = _posted(wire)[1]
    assert "/t1/" not in asked_of_nobody.path


def test_failure_of_a_moment_does_not_end_lists(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    _task_is_there(wire)
    wire.post(re.compile(f"{API}/tasks/.*/logs"), status_code=404)
    wire.post(LOGS, [SPRING_500, {"status_code": 201}])

    with pytest.raises(errors.ApiFailed):
        client.send_logs("t1", [_entry("1"), _entry("2")], key="k")
    assert client.send_logs("t1", [_entry("1"), _entry("2")], key="k") == 2

    assert [type(body) for body in _bodies(wire)] == [list, list, list]


def test_logs_do_not_learn_from_a_broken_server(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    _task_is_there(wire)
    wire.post(re.compile(f"{API}/tasks/.*/logs"), **SPRING_500)
    wire.post(LOGS, [SPRING_500, SPRING_500, SPRING_500, {"status_code": 201}])

    with pytest.raises(errors.ApiFailed):
        client.send_logs("t1", [_entry("1")], key="k")
    client.send_logs("t1", [_entry("1")], key="k")

    assert isinstance(_bodies(wire)[-1], list)


def test_server_that_is_broken_as_a_whole_is_not_asked_singly(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(f"{API}/tasks/t1", **SPRING_500)
    wire.post(LOGS, [SPRING_500, {"status_code": 201}])

    with pytest.raises(errors.ApiFailed):
        client.send_logs("t1", [_entry("1")], key="k")

    assert [type(body) for body in _bodies(wire)] == [list]


def test_logs_refused_by_a_server_that_takes_lists_stay_refused(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(LOGS, [{"json": {"stored": 1}}, {"status_code": 400}])

    client.send_logs("t1", [_entry("1")], key="k1")
    with pytest.raises(errors.ApiRefused):
        client.send_logs("t1", [_entry("2")], key="k2")

    assert wire.call_count == 2


def test_logs_drop_to_level_and_message_on_a_strict_server(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    created = {"status_code": 201}
    _task_is_there(wire)
    wire.post(re.compile(f"{API}/tasks/.*/logs"), **SPRING_500)
    wire.post(LOGS, [SPRING_500, SPRING_500, created, created])

    client.send_logs("t1", [_entry("1")], key="k1")
    client.send_logs("t1", [_entry("2", level=LogLevel.WARN)], key="k2")

    assert _bodies(wire)[3:] == [
        {"level": "INFO", "message": "1"},
        {"level": "WARN", "message": "2"},
    ]


def test_logs_report_how_far_they_came_when_the_server_fails_on_the_way(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    created = {"status_code": 201}
    wire.post(LOGS, [{"status_code": 415}, created, {"status_code": 503}])

    assert client.send_logs("t1", [_entry(text) for text in "123"], key="k") == 1
    with pytest.raises(errors.ApiOverloaded):
        client.send_logs("t1", [_entry(text) for text in "23"], key="k-1")


def test_logs_raise_when_none_was_stored(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.post(LOGS, [{"status_code": 415}, {"status_code": 503}])

    with pytest.raises(errors.ApiOverloaded):
        client.send_logs("t1", [_entry("1"), _entry("2")], key="k")


def test_logs_of_an_unknown_task_are_not_found(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(LOGS, status_code=404)

    with pytest.raises(errors.ApiNotFound):
        client.send_logs("t1", [_entry("1")], key="k")

    assert wire.call_count == 1


def test_backlog_is_joined_by_source_and_level_for_servers_without_lists(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.post(LOGS, [{"status_code": 415}, {"status_code": 201}])
    entries = [_entry(f"out {n}") for n in range(40)]
    entries += [_entry(f"err {n}", source="stderr") for n in range(60)]

    assert _send_all(client, entries, "k") == 2
    joined = _bodies(wire)[1:]
    assert [body["source"] for body in joined] == ["stdout", "stderr"]
    assert joined[1]["message"].split("\n") == [f"err {n}" for n in range(60)]
    assert [r.headers["Idempotency-Key"] for r in wire.request_history][1:] == ["k-0-0", "k-40-0"]


def test_few_entries_are_not_joined(client: KerutaClient, wire: requests_mock.Mocker) -> None:
    wire.post(LOGS, [{"status_code": 415}, {"status_code": 201}])

    _send_all(client, [_entry("x")] * logs.JOIN_ABOVE, "k")

    assert wire.call_count == 1 + logs.JOIN_ABOVE


_ENTRIES = st.lists(
    st.builds(
        LogEntry,
        level=st.sampled_from([LogLevel.INFO, LogLevel.ERROR]),
        source=st.sampled_from(["stdout", "stderr"]),
        message=st.text(alphabet="ab", max_size=5)
        | st.integers(0, 9000).map(lambda length: "x" * length),
        metadata=st.sampled_from([{}, {}, {"a": 1}]),
    ),
    min_size=logs.JOIN_ABOVE + 1,
    max_size=logs.JOIN_ABOVE + 30,
)


@given(_ENTRIES)
def test_joining_keeps_every_line_in_order_and_every_message_short(
    entries: list[LogEntry],
) -> None:
    batches = list(logs._batches(entries))

    assert sum(batch.count for batch in batches) == len(entries)
    lines = "\n".join(entry.message for entry in entries)
    assert "\n".join(batch.entry.message for batch in batches) == lines
    for batch in batches:
        parts = entries[batch.first : batch.first + batch.count]
        assert {(part.level, part.source) for part in parts} == {
            (batch.entry.level, batch.entry.source)
        }
        assert batch.count == 1 or len(batch.entry.message) <= logs.JOINED_LIMIT


def test_names_of_fields_have_no_dots_where_a_server_might_not_store_them(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    _task_is_there(wire)
    wire.post(LOGS, [{"status_code": 400}, {"status_code": 201}])
    metadata = {"service.name": "x", "a": [{"$b.c": 1}]}
    client.send_logs("t1", [_entry("one", metadata=metadata)], key="k")
    assert _bodies(wire)[0][0]["metadata"] == metadata
    assert _bodies(wire)[-1]["metadata"] == {"service_name": "x", "a": [{"_b_c": 1}]}
