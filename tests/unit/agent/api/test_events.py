"""Server-sent events: the parser, and the stream's beginning and end."""

from __future__ import annotations

import itertools
import threading

import pytest
import requests_mock
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.agent.api import KerutaClient
from keruta_agent.agent.api.events import EventParser
from keruta_agent.core import errors
from keruta_agent.core.model import ServerEvent
from tests.helpers.keruta_wire import API, SPRING_500

EVENTS = f"{API}/sessions/realtime/events"
STREAM = {"Content-Type": "text/event-stream;charset=UTF-8"}

TEXT = (
    'event:connected\ndata:{"sessionId":null}\n\n'
    ": heartbeat\n\n"
    'id: 7\r\nevent: task_update\r\ndata: {"a":\r\ndata: "日本"}\r\n\r\n'
    "retry: 100\rdata: plain\r\r"
    "event: empty\n\n"
    "id: bad\0id\ndata\n\n"
    "data: never dispatched"
).encode()

EXPECTED = [
    ServerEvent(name="connected", data={"sessionId": None}),
    ServerEvent(name="task_update", data={"a": "日本"}),
    ServerEvent(name="message", data={"text": "plain"}),
    ServerEvent(name="message", data={"text": ""}),
]


def _parse(blocks: list[bytes]) -> list[ServerEvent]:
    parser = EventParser()
    return [event for block in blocks for event in parser.feed(block)]


def test_events_are_read_with_and_without_a_space_after_the_colon() -> None:
    assert _parse([TEXT]) == EXPECTED


@given(st.lists(st.integers(0, len(TEXT)), max_size=30))
def test_events_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TEXT)]
    blocks = [TEXT[start:end] for start, end in itertools.pairwise(edges)]

    assert _parse(blocks) == EXPECTED


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_events_of_any_bytes_do_not_raise(blocks: list[bytes]) -> None:
    assert all(isinstance(event, ServerEvent) for event in _parse(blocks))


def test_events_of_a_session_end_with_the_stream(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(EVENTS, content=TEXT, headers=STREAM)

    assert list(client.events("s1", threading.Event())) == EXPECTED
    assert wire.last_request.headers["Accept"] == "text/event-stream"
    assert wire.last_request.qs == {"sessionid": ["s1"]}


def test_events_stop_before_the_next_one_is_read(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(EVENTS, content=TEXT, headers=STREAM)
    stop = threading.Event()
    stop.set()

    assert list(client.events("s1", stop)) == []


@pytest.mark.parametrize(
    "answer",
    [
        {"status_code": 404},
        SPRING_500,
        {"text": "<html></html>", "headers": {"Content-Type": "text/html"}},
        {"json": []},
    ],
    ids=["not found", "spring", "page", "json"],
)
def test_events_that_a_server_lacks_are_asked_for_once(
    answer: dict[str, object], client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(EVENTS, **answer)

    for _ in range(2):
        with pytest.raises(errors.ApiUnsupported):
            next(client.events("s1", threading.Event()))

    assert wire.call_count == 1


def test_events_of_a_full_server_are_an_overload(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(EVENTS, status_code=503, headers={"Retry-After": "15"})

    with pytest.raises(errors.ApiOverloaded) as caught:
        next(client.events("s1", threading.Event()))

    assert caught.value.retry_after_s == 15
