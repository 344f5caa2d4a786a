"""Server-sent events of a real server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest
import requests

from keruta_agent.http import fanout
from keruta_agent.http.problems import Problem
from keruta_agent.http.serving.host import Host
from keruta_agent.server.application import create_application
from keruta_agent.server.resources import events
from keruta_agent.server.serve import Server
from keruta_agent.server.store.changes import Changes
from keruta_agent.server.store.store import Store
from tests.helpers.databases import url_of
from tests.helpers.event_streams import PATIENCE_S, event_stream
from tests.helpers.waiting import wait_until


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def _post(
    http: requests.Session, server: Server, path: str, body: Any, method: str = "POST"
) -> Any:
    answer = http.request(method, f"{server.url}/api/v1{path}", json=body, timeout=PATIENCE_S)
    assert answer.ok, answer.text
    return answer.json() if answer.content else None


def test_stream_tells_of_sessions_tasks_and_logs(server: Server, http: requests.Session) -> None:
    with event_stream(server) as stream:
        assert next(stream)["event"] == "connected"
        session = _post(http, server, "/sessions", {"name": "s"})["id"]
        task = _post(http, server, "/tasks", {"sessionId": session, "name": "t"})["id"]
        _post(http, server, f"/tasks/{task}/status", {"status": "PROCESSING"}, "PUT")
        got = [next(stream) for _ in range(3)]
        assert [event["event"] for event in got] == [
            "session_created",
            "task_created",
            "task_update",
        ]
        assert {event["data"]["sessionId"] for event in got} == {session}
        assert all(isinstance(event["data"]["timestamp"], int) for event in got)
        update = got[2]["data"]["data"]
        assert (update["taskId"], update["status"], update["previousStatus"]) == (
            task,
            "PROCESSING",
            "PENDING",
        )
        _post(http, server, f"/sessions/{session}/status", {"status": "COMPLETED"}, "PUT")
        assert next(stream)["event"] == "session_update"
        _post(http, server, f"/tasks/{task}", None, "DELETE")
        assert next(stream)["event"] == "task_deleted"
        _post(http, server, f"/sessions/{session}", None, "DELETE")
        assert next(stream)["event"] == "session_deleted"


def test_stream_gathers_log_lines_into_few_events(server: Server, http: requests.Session) -> None:
    session = _post(http, server, "/sessions", {"name": "s"})["id"]
    task = _post(http, server, "/tasks", {"sessionId": session, "name": "t"})["id"]
    with event_stream(server, f"?sessionId={session}") as stream:
        assert next(stream)["event"] == "connected"
        for _ in range(10):
            _post(http, server, f"/tasks/{task}/logs", [{"message": "m"}] * 50)
        counts: list[int] = []
        while sum(counts) < 500:
            event = next(stream)
            assert (event["event"], event["data"]["data"]["taskId"]) == ("task_logs", task)
            counts.append(event["data"]["data"]["count"])
        assert sum(counts) == 500
        assert len(counts) <= 10


def test_stream_of_a_session_leaves_out_the_others(server: Server, http: requests.Session) -> None:
    with event_stream(server, "?sessionId=mine") as stream:
        assert next(stream)["data"]["sessionId"] == "mine"
        _post(http, server, "/sessions", {"name": "s", "id": "other"})
        _post(http, server, "/sessions", {"name": "s", "id": "mine"})
        assert next(stream)["data"]["sessionId"] == "mine"


def test_stream_of_some_sessions_has_each_event_once_in_their_order(
    server: Server, http: requests.Session
) -> None:
    made = ("one", "other", "two", "one-more")
    query = "?sessionId=one&sessionId=two&sessionId=two&sessionId=&sessionId=after"
    for name in made:
        _post(http, server, "/sessions", {"name": "s", "id": name})
    with event_stream(server, f"{query}&lastEventId=0") as stream:
        assert next(stream)["data"]["sessionId"] is None
        assert [next(stream)["data"]["sessionId"] for _ in range(2)] == ["one", "two"]
        _post(http, server, "/sessions", {"name": "s", "id": "not-asked-for"})
        _post(http, server, "/sessions", {"name": "s", "id": "after"})
        assert next(stream)["data"]["sessionId"] == "after"


def test_stream_of_too_many_sessions_is_refused(server: Server, http: requests.Session) -> None:
    query = "&".join(f"sessionId={number}" for number in range(events.MOST_SESSIONS + 1))
    answer = http.get(f"{server.url}{events.PATH}?{query}", timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "sessionId")


@pytest.mark.parametrize("way", ["header", "query"])
def test_stream_replays_what_was_missed(server: Server, http: requests.Session, way: str) -> None:
    with event_stream(server) as stream:
        _post(http, server, "/sessions", {"name": "s", "id": "first"})
        assert next(stream)["event"] == "connected"
        seen = next(stream)["id"]
    for name in ("second", "third"):
        _post(http, server, "/sessions", {"name": "s", "id": name})
    headers = {"Last-Event-ID": seen} if way == "header" else {}
    with event_stream(
        server, f"?lastEventId={seen}" if way == "query" else "", **headers
    ) as stream:
        assert next(stream)["event"] == "connected"
        missed = [next(stream) for _ in range(2)]
    assert [event["data"]["sessionId"] for event in missed] == ["second", "third"]
    assert int(seen) < int(missed[0]["id"]) < int(missed[1]["id"])


def test_first_event_carries_an_id_to_come_back_with(
    server: Server, http: requests.Session
) -> None:
    _post(http, server, "/sessions", {"name": "s", "id": "before"})
    with event_stream(server) as stream:
        seen = next(stream)["id"]
    _post(http, server, "/sessions", {"name": "s", "id": "missed"})
    with event_stream(server, **{"Last-Event-ID": seen}) as stream:
        next(stream)
        assert next(stream)["data"]["sessionId"] == "missed"


@pytest.mark.parametrize("unknown", ["abc", "-1", "9" * 40, "999999", "²"])
def test_stream_with_an_unknown_id_begins_now(
    server: Server, http: requests.Session, unknown: str
) -> None:
    _post(http, server, "/sessions", {"name": "s", "id": "before"})
    with event_stream(server, f"?lastEventId={unknown}") as stream:
        assert next(stream)["event"] == "connected"
        _post(http, server, "/sessions", {"name": "s", "id": "after"})
        assert next(stream)["data"]["sessionId"] == "after"


def test_silent_stream_beats(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "TICK_S", 0.02)
    monkeypatch.setattr(fanout, "HEARTBEAT_S", 0.05)
    with requests.Session() as session:
        session.trust_env = False
        url = f"{server.url}{events.PATH}"
        with session.get(url, stream=True, timeout=PATIENCE_S) as response:
            lines = response.iter_lines(chunk_size=1)
            assert any(line == b": heartbeat" for line in lines)


def test_two_hundred_streams_leave_room_for_requests(
    server: Server, http: requests.Session
) -> None:
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(event_stream(server)) for _ in range(200)]
        for stream in streams:
            assert next(stream)["event"] == "connected"
        _post(http, server, "/sessions", {"name": "s", "id": "announced-to-all"})
        for stream in streams:
            assert next(stream)["data"]["sessionId"] == "announced-to-all"


def test_more_streams_than_a_process_may_have_are_refused() -> None:
    streams = fanout.Fanout(_Nothing(), look_s=60.0, most_streams=0)
    with pytest.raises(Problem, match="open already") as refused:
        streams.open((), 0, greeting=b"")
    assert (refused.value.status, refused.value.code) == (503, "TOO_MANY_STREAMS")
    assert refused.value.headers["Retry-After"]


class _Nothing:
    """A source without events."""

    def newest(self) -> int:
        return 0

    def after(self, number: int, topics: Collection[str], limit: int) -> list[fanout.Event]:
        return []


def test_stream_whose_client_left_ends_soon(tmp_path: Path) -> None:
    """Long before the next heartbeat fails: whoever comes and goes would keep all others out."""
    with (
        contextlib.closing(Store.open(tmp_path, url_of(tmp_path))) as store,
        contextlib.closing(create_application(store)) as app,
    ):
        streams = store.changes.fanout
        host = Host(app, host="127.0.0.1", port=0)
        host.start()
        try:
            url = f"{host.url}{events.PATH}"
            with requests.get(url, stream=True, timeout=PATIENCE_S) as response:
                lines = response.iter_lines(chunk_size=1)  # closes the connection when it goes
                next(lines)
                assert streams.streams == 1
            wait_until(lambda: streams.streams == 0, "the stream of the client that left has ended")
        finally:
            host.stop()


def test_stream_that_cannot_be_filled_has_its_client_come_back(
    server: Server, http: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    _post(http, server, "/sessions", {"name": "s", "id": "missed"})
    read, failures = Changes.after, [peewee.OperationalError("the database restarts")]

    def fail_once(self: Changes, number: int, topics: Collection[str], limit: int) -> Any:
        if topics and failures:  # what feeds all streams asks for all
            raise failures.pop()
        return read(self, number, topics, limit)

    monkeypatch.setattr(Changes, "after", fail_once)
    with event_stream(server, "?lastEventId=0&sessionId=missed") as stream:
        assert [next(iter(event)) for event in stream] == ["id", "retry"]
    with event_stream(server, "?lastEventId=0&sessionId=missed") as stream:
        assert [next(stream)["event"] for _ in range(2)] == ["connected", "session_created"]


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == fanout.__name__]


def test_outage_of_the_database_is_logged_once(
    server: Server,
    http: requests.Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(fanout, "_FAILED_S", 0.01)
    read, failures = Changes.after, [peewee.OperationalError("it restarts") for _ in range(5)]

    def fail(self: Changes, number: int, topics: Collection[str], limit: int) -> Any:
        if failures and not topics:  # what feeds all streams asks for all
            raise failures.pop()
        return read(self, number, topics, limit)

    _post(http, server, "/sessions", {"name": "s", "id": "awaited"})
    # About one session: what such a stream reads for itself names it, and does not fail.
    stream_of_one = event_stream(server, "?sessionId=awaited")
    with caplog.at_level("INFO", fanout.__name__), stream_of_one as stream:
        assert next(stream)["event"] == "connected"
        monkeypatch.setattr(Changes, "after", fail)
        _post(http, server, "/tasks", {"name": "t", "sessionId": "awaited"})
        assert next(stream)["event"] == "task_created"
        wait_until(lambda: len(_said(caplog)) > 1, "the end of the outage is logged")
    assert not failures
    assert _said(caplog) == [
        "cannot read what changed; trying again each second",
        "can read what changed again",
    ]


def test_streams_end_when_the_server_stops(server: Server) -> None:
    with event_stream(server) as stream:
        next(stream)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert [[*event] for event in stream] == [["retry"]]  # when to come back
        stopping.join(PATIENCE_S)
        assert not stopping.is_alive()
