"""Events of one server in the streams of another, on one PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from keruta_agent.server.serve import Server
from keruta_agent.server.store import changes
from tests.helpers.embedded_server import embedded_server
from tests.helpers.event_streams import PATIENCE_S, event_stream
from tests.helpers.postgresql import PostgresqlServer
from tests.helpers.waiting import wait_until

#: So that events arrive by notifications, or not before a test has timed out.
_NEVER_S = 3600.0
_LISTENING = "SELECT pid FROM pg_stat_activity WHERE datname = '{}' AND query LIKE 'LISTEN%'"

Pair = tuple[Server, Server]


@pytest.fixture
def look_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "SHARED_LOOK_S", _NEVER_S)


@pytest.fixture
def pair(tmp_path: Path, postgresql_url: str) -> Iterator[Pair]:
    with (
        embedded_server(tmp_path / "a", database_url=postgresql_url) as one,
        embedded_server(tmp_path / "b", database_url=postgresql_url) as other,
    ):
        yield one, other


def _create(server: Server, name: str) -> None:
    body = {"id": name, "name": name}
    answer = requests.post(f"{server.url}/api/v1/sessions", json=body, timeout=PATIENCE_S)
    assert answer.status_code == 201, answer.text


def _create_when_it_can(server: Server, name: str) -> None:
    """Create a session as a client does: one that is refused for now comes back."""

    def created() -> bool:
        body = {"id": name, "name": name}
        answer = requests.post(f"{server.url}/api/v1/sessions", json=body, timeout=PATIENCE_S)
        assert answer.status_code in (201, 503), answer.text
        return answer.status_code == 201

    wait_until(created, "the session is created")


def _listening(postgresql: PostgresqlServer, url: str) -> list[int]:
    """Return the connections that listen."""
    name = url.rpartition("/")[2]
    return [pid for (pid,) in postgresql.execute(_LISTENING.format(name))]


@pytest.mark.usefixtures("look_s")
def test_events_of_one_server_reach_the_streams_of_another_in_their_order(pair: Pair) -> None:
    one, other = pair
    with event_stream(other) as stream:
        assert next(stream)["event"] == "connected"
        names = [f"session-{number}" for number in range(20)]
        for number, name in enumerate(names):
            _create(pair[number % 2], name)
        heard = [next(stream) for _ in names]
    assert [event["data"]["sessionId"] for event in heard] == names
    assert [int(event["id"]) for event in heard] == sorted(int(event["id"]) for event in heard)
    with event_stream(one, "?lastEventId=0") as stream:
        assert [next(stream)["id"] for _ in range(21)][1:] == [event["id"] for event in heard]


@pytest.mark.usefixtures("look_s")
def test_events_arrive_when_the_connection_that_listens_was_ended(
    pair: Pair, postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    one, other = pair
    with event_stream(other) as stream:
        next(stream)
        _create(one, "before")
        assert next(stream)["data"]["sessionId"] == "before"
        ended = _listening(postgresql_server, postgresql_url)
        assert len(ended) == 2
        for pid in ended:
            postgresql_server.execute(f"SELECT pg_terminate_backend({pid})")
        _create(one, "meanwhile")
        assert next(stream)["data"]["sessionId"] == "meanwhile"
        wait_until(
            lambda: len(set(_listening(postgresql_server, postgresql_url)) - set(ended)) == 2,
            "both listen again",
        )
        _create(one, "after")
        assert next(stream)["data"]["sessionId"] == "after"


@pytest.mark.usefixtures("look_s")
def test_events_arrive_after_a_restart_of_the_database(
    pair: Pair, postgresql_server: PostgresqlServer
) -> None:
    one, other = pair
    with event_stream(other) as stream:
        next(stream)
        _create(one, "before")
        assert next(stream)["data"]["sessionId"] == "before"
        postgresql_server.stop()
        answer = requests.get(f"{one.url}/api/v1/sessions", timeout=PATIENCE_S)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        postgresql_server.start()
        _create_when_it_can(one, "after")
        assert next(stream)["data"]["sessionId"] == "after"


def test_event_whose_notification_is_lost_is_found_by_looking(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    postgresql_server: PostgresqlServer,
    postgresql_url: str,
) -> None:
    monkeypatch.setattr(changes, "SHARED_LOOK_S", 0.1)
    with (
        embedded_server(tmp_path, database_url=postgresql_url) as server,
        event_stream(server) as stream,
    ):
        next(stream)
        postgresql_server.execute(
            "INSERT INTO events (session_id, name, data, created_at)"
            " VALUES ('s', 'session_update', '{}', 0)",
            postgresql_url.rpartition("/")[2],
        )
        assert next(stream)["data"]["sessionId"] == "s"
