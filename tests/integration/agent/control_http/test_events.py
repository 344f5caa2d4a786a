"""Server-sent events of the daemon: order, replay, ends, and how many there may be."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from keruta_agent.agent.control.http import events, watch
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store import changes
from keruta_agent.agent.store.jobs import StopKind, Work
from keruta_agent.http.application import THREADS
from tests.helpers.agent_http import AgentCaller, agent_application, services_of
from tests.helpers.asgi_client import on_loop
from tests.helpers.waiting import wait_until

Event = dict[str, Any]


@pytest.fixture
def services(agent: Agent) -> Services:
    return services_of(agent)


@pytest.fixture
def http(agent: Agent, services: Services) -> Iterator[AgentCaller]:
    with agent_application(agent, services) as app:
        yield AgentCaller(app)


@contextlib.contextmanager
def _stream(http: AgentCaller, path: str, **headers: str) -> Iterator[Iterator[Event]]:
    with http.stream(path, headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        yield (_event(frame) for piece in response for frame in piece.decode().split("\n\n")[:-1])


def _event(frame: str) -> Event:
    fields = [line.partition(": ") for line in frame.splitlines()]
    event: Event = {name: value for name, _, value in fields}
    return event | {"data": json.loads(event.get("data", "null"))}


def _ran(agent: Agent, script: str) -> int:
    job = agent.records.jobs.record_script("ran", Work(script=script))
    run.run_next(agent)
    return job


def _story(found: list[Event]) -> list[str]:
    story = []
    for event in found:
        data = event["data"]
        if event["event"] == "log":
            story += [entry["message"] for entry in data["entries"]]
        elif event["event"] == "job":
            story.append(f"[{data['action']}]")
    return story


def test_job_is_streamed_in_order_from_its_beginning_to_its_end(
    agent: Agent, http: AgentCaller
) -> None:
    _ran(agent, "echo not this")
    job = _ran(agent, "echo 一; sleep 0.05; echo two >&2")
    with _stream(http, f"/jobs/{job}/events") as stream:
        found = list(stream)
    assert _story(found) == ["[recorded]", "[claimed]", "[started]", "一", "two", "[ended]"]
    assert (found[0]["event"], found[-1]["event"]) == ("connected", "end")
    assert found[-1]["data"]["outcome"] == "succeeded"


@pytest.mark.parametrize("at_once", [1, 2, 200])
def test_who_comes_back_gets_each_thing_once_wherever_the_stream_broke(
    agent: Agent, http: AgentCaller, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(changes, "EVENTS_A_READ", at_once)
    monkeypatch.setattr(changes, "RANGES_A_READ", at_once)
    job = _ran(agent, "for i in 1 2 3; do echo $i; echo $i >&2; sleep 0.02; done")
    with _stream(http, f"/jobs/{job}/events") as stream:
        whole = list(stream)

    got: list[Event] = []
    position = "0-0-0"
    while True:
        with _stream(http, f"/jobs/{job}/events", **{"Last-Event-ID": position}) as stream:
            # Up to the first that brings us on.
            event = next(event for event in stream if event["id"] != position)
        got.append(event)
        position = event["id"]
        if http.call("GET", f"/jobs/{job}/events?lastEventId={position}").status_code == 204:
            break

    assert _story(got) == _story(whole)
    assert len(_story(whole)) == 10


def test_stream_of_everything_begins_now_and_sees_what_others_do(
    agent: Agent, http: AgentCaller
) -> None:
    _ran(agent, "echo before")
    with _stream(http, "/events") as stream:
        assert next(stream)["data"]["jobs"]["finished"] == 1
        thread = threading.Thread(target=_ran, args=(agent, "keruta progress 30; echo 後"))
        thread.start()
        found = []
        for event in stream:
            found.append(event)
            if event["event"] == "job" and event["data"]["action"] == "ended":
                break
        thread.join()
    assert _story(found) == ["[recorded]", "[claimed]", "[started]", "後", "[ended]"]
    percents = [event["data"]["percent"] for event in found if event["event"] == "progress"]
    assert 30 in percents


def test_position_of_a_lost_database_counts_as_now(agent: Agent, http: AgentCaller) -> None:
    _ran(agent, "echo before")
    headers = {"Last-Event-ID": "999999-999-999"}
    with _stream(http, "/events", **headers) as stream:
        assert next(stream)["id"] == str(changes.Changes(agent.records.database).newest())
        job = agent.records.jobs.record_script("after", Work(script="true"))
        agent.records.jobs.request_stop(job, StopKind.CANCELLED, "x")
        actions = [next(stream)["data"]["action"] for _ in range(2)]
    assert actions == ["recorded", "stop_asked"]


@pytest.mark.parametrize("position", ["x", "1", "1-2", "1-2-3-4", "-1-2-3", "1-2-" + "9" * 20])
def test_nonsense_as_a_position_is_refused(refusing: AgentCaller, position: str) -> None:
    response = refusing.call("GET", "/events", headers={"Last-Event-ID": position})
    assert response.status_code == 400
    assert response.json()["error"]["field"] == "lastEventId"


def test_silent_stream_beats_and_ends_when_the_daemon_stops(
    http: AgentCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    with http.stream("/events") as response:
        frames = iter(response)
        assert b"event: connected" in next(frames)
        assert next(frames) == b": heartbeat\n\n"
        on_loop(http.app.begin_stop)
        *beats, last_frame = frames
    assert set(beats) <= {b": heartbeat\n\n"}
    assert last_frame.startswith(b"retry: ")


def test_streams_are_limited_and_their_places_free_again(http: AgentCaller) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(watch.MOST_STREAMS):
            opened.enter_context(_stream(http, "/events"))
        refused = http.call("GET", "/events")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "TOO_MANY_STREAMS"
        assert refused.headers["Retry-After"]
    with _stream(http, "/events") as stream:
        assert next(stream)["event"] == "connected"


def test_stream_whose_client_left_ends_at_once(http: AgentCaller, services: Services) -> None:
    """Not with the next heartbeat: whoever comes and goes would keep all others out."""
    with http.stream("/events") as stream:
        assert b"connected" in next(iter(stream))
        assert len(services.watch.listeners) == 1
    assert len(services.watch.listeners) == 0


def test_all_streams_share_one_thread_which_ends_with_the_last(
    agent: Agent, http: AgentCaller, services: Services
) -> None:
    others = set(threading.enumerate())
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(_stream(http, "/events")) for _ in range(20)]
        for stream in streams:
            assert next(stream)["event"] == "connected"
        assert len(_reading_threads(others)) == 1
        agent.records.jobs.record_script("after", Work(script="true"))
        assert [next(stream)["data"]["action"] for stream in streams] == ["recorded"] * 20
        assert len({*threading.enumerate()} - others) <= THREADS + 1
    wait_until(lambda: not _reading_threads(others), "the thread has ended")
    with _stream(http, "/events") as stream:
        assert next(stream)["event"] == "connected"


def test_news_are_read_once_for_all_who_have_come_equally_far(
    agent: Agent, http: AgentCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[changes.Position] = []
    after = changes.Changes.after

    def count(self: changes.Changes, position: changes.Position, **options: Any) -> Any:
        found = after(self, position, **options)
        reads.extend(position for _ in found)
        return found

    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(_stream(http, "/events")) for _ in range(20)]
        for stream in streams:
            assert next(stream)["event"] == "connected"
        monkeypatch.setattr(changes.Changes, "after", count)
        agent.records.jobs.record_script("after", Work(script="true"))
        assert [next(stream)["data"]["action"] for stream in streams] == ["recorded"] * 20
    assert len(reads) < 20


def _reading_threads(others: set[threading.Thread]) -> list[threading.Thread]:
    mine = {*threading.enumerate()} - others
    return [each for each in mine if each.name.startswith("http-events")]


@pytest.mark.parametrize("fails", ["version", "after"])
def test_stream_outlives_a_database_that_is_busy_and_misses_nothing(
    agent: Agent, http: AgentCaller, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    works = getattr(changes.Changes, fails)
    failures: list[str] = []

    def fail_twice(*args: Any, **options: Any) -> Any:
        if len(failures) < 2:
            failures.append(fails)
            raise sqlite3.OperationalError("database is locked")
        return works(*args, **options)

    monkeypatch.setattr(watch, "FAILED_S", 0.01)
    with _stream(http, "/events") as stream:
        assert next(stream)["event"] == "connected"
        monkeypatch.setattr(changes.Changes, fails, fail_twice)
        agent.records.jobs.record_script("after", Work(script="true"))
        assert next(stream)["data"]["action"] == "recorded"
        wait_until(lambda: len(failures) == 2, "it was busy twice")


def test_stream_ends_with_a_hint_when_the_database_is_damaged(
    http: AgentCaller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> Any:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with http.stream("/events") as stream:
        frames = iter(stream)
        assert b"connected" in next(frames)
        monkeypatch.setattr(changes.Changes, "version", fail)
        assert [frame[:7] for frame in frames] == [b"retry: "]
    assert "malformed" in caplog.text


def test_question_whether_there_would_be_a_stream_is_answered_without_one(
    agent: Agent, http: AgentCaller
) -> None:
    job = _ran(agent, "true")
    for path in ("/events", f"/jobs/{job}/events"):
        answer = http.call("HEAD", path)
        assert (answer.status_code, answer.content_type) == (200, "text/event-stream")
    newest = str(changes.Changes(agent.records.database).newest())
    assert http.call("HEAD", f"/jobs/{job}/events?lastEventId={newest}").status_code == 204


def test_secrets_leave_no_stream(agent: Agent, http: AgentCaller) -> None:
    work = Work(
        script="echo $DB_PASSWORD; keruta progress 5 --message $DB_PASSWORD; "
        "keruta fail --message $DB_PASSWORD",
        environment={"DB_PASSWORD": "geheim-wie-nie-zuvor"},
    )
    job = agent.records.jobs.record_script("leaks", work)
    run.run_next(agent)
    with _stream(http, f"/jobs/{job}/events") as stream:
        found = list(stream)
    assert "***" in str(found)
    assert "geheim" not in str(found)
