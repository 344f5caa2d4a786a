"""The audit log: who did what, and whom the server has refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.http.application import Application
from keruta_agent.http.throttle import MOST_FAILURES
from keruta_agent.server.access import tokens
from keruta_agent.server.access.principals import Role, Scope, ScopeKind
from keruta_agent.server.application import create_application
from keruta_agent.server.store import audit_rows
from keruta_agent.server.store.audit_rows import Entry
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.asgi_client import Answer
from tests.helpers.page_visitor import PageVisitor

SINGLE = "the single token"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def app(store: Store) -> Iterator[Application]:
    made = create_application(store, token=SINGLE)
    yield made
    made.close()


def _call(
    app: Application, token: str, method: str, path: str, peer: str = "", **options: Any
) -> Answer:
    headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
    if peer:
        headers["X-Forwarded-For"] = peer
    return ApiCaller(app).call(method, path, headers=headers, **options)


def _log(app: Application) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _call(app, SINGLE, "GET", "/audit").json()
    return found


def _facts(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[name] for name in ("token", "role", "method", "path", "target", "status"))


def test_what_a_person_changes_is_noted_with_name_and_address(
    app: Application, store: Store
) -> None:
    _, anna = tokens.create(store.database, "anna", Role.OPERATOR)
    made = _call(app, anna, "POST", "/sessions", "203.0.113.7", json={"name": "x"}).json()
    draft = {"name": "x", "sessionId": made["id"]}
    task = _call(app, anna, "POST", "/tasks", json=draft).json()["id"]
    cancelled = {"status": "CANCELLED"}
    assert _call(app, anna, "PUT", f"/tasks/{task}/status", json=cancelled).status_code == 200
    newest, filed, created = _log(app)
    by_anna = ("anna", "operator")
    assert _facts(newest) == (
        *(*by_anna, "PUT", f"/api/v1/tasks/{task}/status", f"task {task}", 200),
    )
    assert _facts(filed) == (
        *by_anna,
        "POST",
        "/api/v1/tasks",
        f"session {made['id']}, created {task}",
        200,
    )
    assert created["target"] == f"created {made['id']}"
    assert created["address"] == "203.0.113.7"


def test_work_of_agents_and_what_is_read_is_not_noted(app: Application, store: Store) -> None:
    session = _call(app, SINGLE, "POST", "/sessions", json={"name": "x"}).json()["id"]
    scope = Scope(kind=ScopeKind.SESSION, value=session)
    _, agent = tokens.create(store.database, "agent", Role.AGENT, scope=scope)
    before = len(_log(app))
    # An agent may have the server's one token, too.
    for token in (agent, SINGLE):
        made = _call(app, token, "POST", "/tasks", json={"name": "x", "sessionId": session})
        task = f"/tasks/{made.json()['id']}"
        _call(app, token, "POST", f"{task}/logs", json={"message": "x"})
        _call(app, token, "PUT", f"{task}/status", json={"status": "PROCESSING"})
        _call(app, token, "GET", task)
    assert len(_log(app)) == before


def test_change_that_fails_is_not_noted_as_done(app: Application) -> None:
    assert _call(app, SINGLE, "DELETE", "/sessions/nobody").status_code == 404
    assert _log(app) == []


def test_entry_of_one_request_is_not_stored_with_another(app: Application, store: Store) -> None:
    for _ in range(20):  # in every thread of the application
        _call(app, SINGLE, "DELETE", "/sessions/nobody")
    with store.writing():
        pass
    made = _call(app, SINGLE, "POST", "/sessions", json={"name": "x"}).json()["id"]
    scope = Scope(kind=ScopeKind.SESSION, value=made)
    _, agent = tokens.create(store.database, "agent", Role.AGENT, scope=scope)
    for _ in range(20):
        _call(app, agent, "POST", "/tasks", json={"name": "x", "sessionId": made})
    assert [entry["path"] for entry in _log(app)] == ["/api/v1/sessions"]


def test_refused_and_wrong_tokens_are_noted(app: Application, store: Store) -> None:
    _, viewer = tokens.create(store.database, "viewer", Role.VIEWER)
    _call(app, viewer, "POST", "/sessions", json={"name": "x"})
    _call(app, viewer, "GET", "/audit")
    _call(app, "wrong", "GET", "/sessions", "203.0.113.7")
    ApiCaller(app).call("GET", "/sessions")
    wrong, refused = _log(app)
    assert (wrong["token"], wrong["status"], wrong["address"]) == ("", 401, "203.0.113.7")
    assert (refused["token"], refused["status"], refused["detail"]) == (
        *("viewer", 403, "ROLE_FORBIDDEN"),
    )


def test_wrong_tokens_do_not_fill_the_log(app: Application) -> None:
    for number in range(MOST_FAILURES + 5):
        _call(app, f"{tokens.PREFIX}{number:064x}", "GET", "/sessions")
    assert len(_log(app)) == MOST_FAILURES


def test_logins_logouts_and_what_the_pages_do_are_noted(app: Application, store: Store) -> None:
    _, anna = tokens.create(store.database, "anna", Role.OPERATOR)
    browser = PageVisitor(app)
    browser.send("/login", token="wrong")
    browser.send("/login", token=anna)
    session = browser.session()
    browser.send(f"{session}/delete")  # it asks first
    browser.send(f"{session}/delete", confirmed="yes")
    browser.send("/logout")
    paths = [(entry["path"], entry["token"], entry["status"]) for entry in _log(app)]
    assert paths == [
        ("/logout", "anna", 200),
        (f"{session}/delete", "anna", 200),
        ("/sessions", "anna", 200),
        ("/login", "anna", 200),
        ("/login", "", 403),
    ]


def test_tokens_that_an_admin_makes_and_revokes_are_noted(app: Application) -> None:
    admin = PageVisitor(app)
    admin.send("/login", token=SINGLE)
    admin.send("/tokens", name="anna", role="viewer")
    found = admin.get("/tokens").text.partition("/tokens/")[2].partition("/")[0]
    admin.send(f"/tokens/{found}/revoke", confirmed="yes")
    targets = [entry["target"] for entry in _log(app)]
    assert targets[:2] == ["token anna", "token anna"]
    shown = admin.get("/audit").text
    assert "token anna" in shown


def test_log_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_rows, "KEPT_ROWS", 100)
    monkeypatch.setattr(audit_rows, "_TRIM_EVERY", 10)
    entry = Entry(token="x", role="", address="", method="POST", path="/" * 1000)
    for _ in range(205):
        with store.database.connected(), store.database.transaction():
            audit_rows.store(store.database, entry)
    rows = audit_rows.newest(store.database, 1000)
    assert 100 <= len(rows) < 110
    assert len(rows[0]["path"]) < 1000


def test_pages_of_the_log_follow_one_another(app: Application) -> None:
    for number in range(5):
        _call(app, SINGLE, "POST", "/sessions", json={"name": str(number)})
    first = _call(app, SINGLE, "GET", "/audit?size=3")
    assert len(first.json()) == 3
    query = first.headers["Link"].partition("<")[2].partition(">")[0]
    assert len(_call(app, SINGLE, "GET", f"/audit{query}").json()) == 2
