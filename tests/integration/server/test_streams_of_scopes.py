"""Event streams by tokens with a scope: what they tell of, and when they end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from keruta_agent.server.access import tokens
from keruta_agent.server.access.principals import Role, Scope, ScopeKind
from keruta_agent.server.resources import events
from keruta_agent.server.serve import Server
from keruta_agent.server.store.database import Database, open_database
from tests.helpers.databases import url_of
from tests.helpers.embedded_server import embedded_server
from tests.helpers.event_streams import PATIENCE_S, event_stream


class World:
    """A running server, an admin, and its database."""

    def __init__(self, server: Server, database: Database) -> None:
        self.server = server
        self.database = database
        self._admin = self.token(Role.ADMIN)

    def token(self, role: Role, scope: Scope | None = None) -> str:
        """Return a new token, called after its role."""
        return tokens.create(self.database, role.value, role, scope=scope)[1]

    def session(self, session_id: str, workspace: str, name: str = "s") -> None:
        """Create a session, and a task in it of the same name."""
        self.post("/sessions", {"id": session_id, "name": name, "workspaceId": workspace})
        self.post("/tasks", {"sessionId": session_id, "name": session_id})

    def post(self, path: str, body: Any) -> None:
        """Send something as an admin."""
        headers = {"Authorization": f"Bearer {self._admin}"}
        url = f"{self.server.url}/api/v1{path}"
        answer = requests.post(url, json=body, headers=headers, timeout=PATIENCE_S)
        assert answer.ok, answer.text

    @contextlib.contextmanager
    def stream(self, token: str, query: str = "") -> Iterator[Iterator[dict[str, Any]]]:
        """Open a stream by a token, behind its greeting."""
        headers = {"Authorization": f"Bearer {token}"}
        with event_stream(self.server, query, **headers) as stream:
            assert next(stream)["event"] == "connected"
            yield stream


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    data_dir = tmp_path / "data"
    with (
        embedded_server(data_dir) as server,
        contextlib.closing(open_database(data_dir, url_of(data_dir))) as database,
    ):
        yield World(server, database)


def _heard(stream: Iterator[dict[str, Any]], number: int) -> list[tuple[str, str]]:
    events = [next(stream) for _ in range(number)]
    return [(event["event"], event["data"]["sessionId"]) for event in events]


_CREATED = ("session_created", "task_created")


@pytest.mark.parametrize(
    ("kind", "value"),
    [(ScopeKind.SESSION, "mine"), (ScopeKind.WORKSPACE, "ours"), (ScopeKind.WORKSPACE, "called")],
)
@pytest.mark.parametrize("query", ["?lastEventId=0", "?lastEventId=0&sessionId=mine"])
def test_stream_replays_what_is_in_the_scope_alone(
    world: World, kind: ScopeKind, value: str, query: str
) -> None:
    world.session("foreign", "theirs")
    world.session("mine", "ours", "called")
    world.session("foreign-2", "theirs")
    token = world.token(Role.AGENT, Scope(kind=kind, value=value))
    with world.stream(token, query) as stream:
        assert _heard(stream, 2) == [(name, "mine") for name in _CREATED]
        world.session("foreign-3", "theirs")
        world.post("/tasks", {"sessionId": "mine", "name": "x"})
        assert _heard(stream, 1) == [("task_created", "mine")]


@pytest.mark.parametrize("kind", list(ScopeKind))
def test_stream_about_a_foreign_session_tells_nothing_of_it(world: World, kind: ScopeKind) -> None:
    world.session("mine", "mine")
    world.session("foreign", "theirs")
    token = world.token(Role.AGENT, Scope(kind=kind, value="mine"))
    query = "?lastEventId=0&sessionId=foreign&sessionId=mine"
    with world.stream(token, query) as stream:
        assert _heard(stream, 2) == [(name, "mine") for name in _CREATED]
        world.session("later", "theirs")
        world.post("/tasks", {"sessionId": "mine", "name": "x"})
        assert _heard(stream, 1) == [("task_created", "mine")]


@pytest.mark.parametrize("value", ["ours", "called"])
def test_stream_of_a_workspace_tells_of_sessions_that_begin_later(world: World, value: str) -> None:
    token = world.token(Role.VIEWER, Scope(kind=ScopeKind.WORKSPACE, value=value))
    with world.stream(token) as stream:
        world.session("foreign", "theirs")
        world.session("first", "ours", "called")
        assert _heard(stream, 2) == [(name, "first") for name in _CREATED]
        world.session("foreign-2", "theirs", "another")
        world.session("second", "ours", "called")
        assert _heard(stream, 2) == [(name, "second") for name in _CREATED]


@pytest.mark.parametrize("role", [Role.AGENT, Role.VIEWER, Role.ADMIN])
def test_revoke_ends_the_streams_of_a_token(world: World, role: Role) -> None:
    scope = Scope(kind=ScopeKind.SESSION, value="mine") if role is Role.AGENT else None
    name = f"another {role}"
    _, token = tokens.create(world.database, name, role, scope=scope)
    with world.stream(token) as stream:
        tokens.revoke(world.database, name)
        assert list(stream) == []


def test_stream_ends_with_its_token(world: World) -> None:
    _, token = tokens.create(world.database, "brief", Role.VIEWER, lifetime_s=3)
    with world.stream(token) as stream:
        assert list(stream) == []


def test_runner_has_no_stream(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.token(Role.RUNNER)}"}
    answer = requests.get(f"{world.server.url}{events.PATH}", headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 403
    assert "ROLE_FORBIDDEN" in answer.text
