"""The table of rights against all routes, each role on each of them, and scopes."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.http.application import Application
from keruta_agent.http.pages.language import catalogue
from keruta_agent.server.access import tokens
from keruta_agent.server.access.principals import Role, Scope, ScopeKind
from keruta_agent.server.access.rights import (
    KERUTA,
    RUNNER_SERVICES,
    Reach,
    Right,
    RouteKey,
    documentation,
)
from keruta_agent.server.application import create_application
from keruta_agent.server.runner_services.serve import POOL, REGISTRY, STORE
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller, Json
from tests.helpers.asgi_client import Answer
from tests.helpers.runner_services import application_of

ROOT = Path(__file__).parents[3]
SINGLE = "the single token"
#: Texts by which a page says why it was refused.
_ROLE = catalogue("en")["problem.ROLE_FORBIDDEN"]
_SCOPE = catalogue("en")["problem.OUT_OF_SCOPE"]
_REFUSALS = ("ROLE_FORBIDDEN", "OUT_OF_SCOPE", _ROLE, _SCOPE)
_MARK = "foreign-mark"


class Client(ApiCaller):
    """A client with a token."""

    def __init__(self, app: Application, token: str) -> None:
        super().__init__(app)
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, **options: Any) -> Answer:
        headers = {**self._headers, **options.pop("headers", {})}
        return self._client.request(
            method, path if path.startswith("/") else f"/{path}", headers=headers, **options
        )

    def send(self, method: str, path: str, body: Any, *, status: int = 200, key: str = "") -> Any:
        return super().send(method, f"/api/v1{path}", body, status=status, key=key)

    def get(self, path: str, **options: Any) -> Any:
        return super().get(f"/api/v1{path}", **options)


class World:
    """One server with two sessions of different workspaces, and a token for each need."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.app = create_application(store, token=SINGLE)
        self.admin = Client(self.app, SINGLE)
        self.mine = self._session("mine")
        self.foreign = self._session(_MARK)

    def client(self, role: Role, scope: Scope | None = None) -> Client:
        """Return a client with a new token."""
        name = f"{role} {tokens.secrets.token_hex(4)}"
        _, token = tokens.create(self.store.database, name, role, scope=scope)
        return Client(self.app, token)

    def _session(self, name: str) -> Json:
        session = self.admin.session(name=name, workspaceId=f"workspace-{name}")
        task = self.admin.task(sessionId=session["id"], name=name, script=f"echo {name}\n")
        path = f"/tasks/{task['id']}"
        agent = f"agent-{name}"
        beat = {"sessionId": session["id"], "instance": "i", "leaseSeconds": 60, "host": name}
        self.admin.send("PUT", f"/agents/{agent}", beat)
        claim = {"agent": agent, "instance": "i", "run": "1"}
        self.admin.send("POST", f"{path}/claim", claim)
        self.admin.send("POST", f"{path}/logs", {"message": name}, status=201)
        self.admin.send("POST", f"{path}/metrics", {"name": name}, status=201)
        self.admin.send("PUT", f"{path}/status", {"status": "PROCESSING", "message": name})
        self.admin.send("POST", f"{path}/input-request", {"prompt": name}, status=201)
        self.admin.send("POST", f"{path}/input", {"input": name})
        return {**session, "task": task["id"], "agent": agent}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.closing(Store.open(tmp_path / "data")) as store:
        built = World(store)
        yield built
        built.app.close()


def _filled(template: str, session: Json) -> str:
    values = {
        "session_id": session["id"],
        "task_id": session["task"],
        "agent_id": session["agent"],
        "workspace_id": session["workspaceId"],
    }
    return re.sub(r"{(\w+)}", lambda found: values.get(found[1], "nobody"), template)


def _of_session(session: Json, key: RouteKey) -> dict[str, Any]:
    """Return the options of a request that names a session in its body, where it has one."""
    method, path = key
    if method in ("GET", "DELETE"):
        return {}
    bodies: dict[str, Any] = {
        "/api/v1/tasks": {"name": "x", "sessionId": session["id"]},
        "/api/v1/agents/{agent_id}": {
            "sessionId": session["id"],
            "instance": "i",
            "leaseSeconds": 60,
        },
        "/api/v1/sessions/{session_id}/status": {"status": "PAUSED"},
        "/api/v1/tasks/{task_id}/status": {"status": "FAILED"},
        "/api/v1/tasks/{task_id}/claim": {"agent": "a", "instance": "i", "run": "1"},
        "/api/v1/tasks/{task_id}/logs": {"message": "x"},
        "/api/v1/tasks/{task_id}/subtasks": {"name": "x"},
        "/api/v1/tasks/{task_id}/progress": {"progress": 1},
        "/api/v1/tasks/{task_id}/input": {"input": "x"},
    }
    return {"json": bodies.get(path, {})}


def _is_refused(answer: Answer) -> bool:
    return answer.status_code == 403 and any(text in answer.text for text in _REFUSALS)


def test_every_route_has_a_row_in_the_table_of_rights(world: World, tmp_path: Path) -> None:
    routes = {(route.method, route.path) for route in world.app.routes}
    assert routes == set(KERUTA)
    with contextlib.ExitStack() as opened:
        apps = [
            opened.enter_context(application_of(name, tmp_path / name))
            for name in (REGISTRY, POOL, STORE)
        ]
        of_services = {(route.method, route.path) for app in apps for route in app.routes}
    assert of_services == set(RUNNER_SERVICES)


def test_documentation_shows_the_table_of_rights() -> None:
    text = (ROOT / "docs" / "rights.md").read_text(encoding="utf-8")
    assert documentation() in text


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_use_the_routes_of_its_rows_and_no_other(world: World, role: Role) -> None:
    scope = Scope(kind=ScopeKind.SESSION, value="nobody") if role is Role.AGENT else None
    client = world.client(role, scope)
    nobody = dict.fromkeys(("id", "task", "agent", "workspaceId"), "nobody")
    wrong = []
    for key, right in KERUTA.items():
        if "realtime" in key[1] or right.reach is Reach.NOTHING:
            continue
        answer = client.call(key[0], _filled(key[1], nobody), **_of_session(nobody, key))
        if _is_refused(answer) == (role in right.roles) or answer.status_code in (401, 500):
            wrong.append((key, answer.status_code, answer.text[:80]))
    assert wrong == []


_BOUND = [
    (key, right)
    for key, right in KERUTA.items()
    if right.reach in (Reach.SESSION, Reach.TASK, Reach.BODY, Reach.DRAFT)
]


@pytest.mark.parametrize(
    "scope",
    [("session", "id"), ("workspace", "workspaceId"), ("workspace", "name")],
    ids=["session", "workspace by id", "workspace by name"],
)
def test_foreign_session_is_answered_for_like_an_unknown_one(
    world: World, scope: tuple[str, str]
) -> None:
    bound = Scope(kind=ScopeKind(scope[0]), value=world.mine[scope[1]])
    clients = [world.client(role, bound) for role in (Role.AGENT, Role.OPERATOR, Role.VIEWER)]
    roles = dict(zip((Role.AGENT, Role.OPERATOR, Role.VIEWER), clients, strict=True))
    nobody = dict.fromkeys(("id", "task", "agent", "workspaceId"), "nobody")
    before = _state(world)
    wrong = []
    for key, right in _BOUND:
        for role, client in roles.items():
            if role not in right.roles:
                continue
            answers = [
                client.call(key[0], _filled(key[1], session), **_of_session(session, key))
                for session in (world.foreign, nobody)
            ]
            texts = [
                answer.text.replace(world.foreign["id"], "nobody").replace(
                    world.foreign["task"], "nobody"
                )
                for answer in answers
            ]
            statuses = {answer.status_code for answer in answers}
            is_alike = key[1].startswith("/api/") and texts[0] != texts[1]
            if not statuses <= {400, 404} or len(statuses) != 1 or is_alike:
                wrong.append((key, role, [answer.text[:200] for answer in answers]))
    assert wrong == []
    assert _state(world) == before


def _state(world: World) -> Any:
    path = f"/tasks/{world.foreign['task']}"
    return (
        world.admin.get(path),
        world.admin.get(f"{path}/logs"),
        world.admin.get(f"/sessions/{world.foreign['id']}/tasks"),
        world.admin.get(f"/agents?sessionId={world.foreign['id']}"),
    )


@pytest.mark.parametrize("kind", ["session", "workspace"])
def test_lists_hold_what_is_in_the_scope_alone(world: World, kind: str) -> None:
    value = world.mine["id"] if kind == "session" else world.mine["workspaceId"]
    scope = Scope(kind=ScopeKind(kind), value=value)
    for role in (Role.AGENT, Role.VIEWER):
        client = world.client(role, scope)
        for key, right in KERUTA.items():
            if right.reach is not Reach.LIST or role not in right.roles or "realtime" in key[1]:
                continue
            for session in (world.mine, world.foreign):
                query = f"?name={session['name']}&partialId={session['id'][:8]}"
                path = _filled(key[1], session)
                # A page repeats its own address.
                answer = client.call(key[0], path if path == "/" else path + query)
                assert answer.status_code in (200, 404), (key, answer.text)
                if answer.status_code == 200:
                    assert _MARK not in answer.text, key
                assert world.foreign["id"] not in answer.text, key


def test_agent_finds_its_session_by_name_id_and_workspace(world: World) -> None:
    scope = Scope(kind=ScopeKind.WORKSPACE, value=world.mine["workspaceId"])
    agent = world.client(Role.AGENT, scope)
    session_id, name = world.mine["id"], world.mine["name"]
    found = [
        agent.get("/sessions")[0],
        agent.get(f"/sessions/{session_id}"),
        agent.get(f"/sessions/search?name={name}")[0],
        agent.get(f"/sessions/search/partial-id?partialId={session_id[:8]}")[0],
        agent.get(f"/sessions/by-workspace/{world.mine['workspaceId']}"),
    ]
    assert {each["id"] for each in found} == {session_id}


def test_agent_does_the_work_of_its_session(world: World) -> None:
    agent = world.client(Role.AGENT, Scope(kind=ScopeKind.SESSION, value=world.mine["id"]))
    task = agent.task(sessionId=world.mine["id"])
    path = f"/tasks/{task['id']}"
    beat = {"sessionId": world.mine["id"], "instance": "i", "leaseSeconds": 60}
    agent.send("PUT", f"/agents/{world.mine['agent']}", beat)
    claim = {"agent": world.mine["agent"], "instance": "i", "run": "2"}
    agent.send("POST", f"{path}/claim", claim)
    agent.send("PUT", f"{path}/status", {"status": "PROCESSING"})
    agent.send("POST", f"{path}/logs", [{"message": "x"}], status=201)
    agent.send("PATCH", f"{path}/progress", {"progress": 50})
    agent.send("POST", f"{path}/input-request", {"prompt": "?"}, status=201)
    agent.send("PUT", f"{path}/status", {"status": "COMPLETED"})
    assert agent.get(path)["status"] == "COMPLETED"


def test_idempotency_key_of_another_session_fetches_nothing(world: World) -> None:
    world.admin.send(
        "POST", "/tasks", {"name": _MARK, "sessionId": world.foreign["id"]}, status=201, key="same"
    )
    agents = {
        name: world.client(Role.AGENT, Scope(kind=ScopeKind.SESSION, value=session["id"]))
        for name, session in (("mine", world.mine), ("foreign", world.foreign))
    }
    for name, session in (("foreign", world.foreign), ("mine", world.mine)):
        draft = {"name": name, "sessionId": session["id"]}
        made = agents[name].send("POST", "/tasks", draft, status=201, key="same")
        assert (made["name"], made["sessionId"]) == (name, session["id"])


def test_rows_are_complete() -> None:
    for right in (*KERUTA.values(), *RUNNER_SERVICES.values()):
        assert isinstance(right, Right)
        assert Role.ADMIN in right.roles
