"""What the pages show and do by the role and the scope of the token that one has logged in by."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.http.application import Application
from keruta_agent.http.pages.language import catalogue
from keruta_agent.server.access import tokens
from keruta_agent.server.access.principals import Role, Scope, ScopeKind
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.page_visitor import PageVisitor, form_token

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


@pytest.fixture
def admin(app: Application) -> PageVisitor:
    return _logged_in(app, SINGLE)


def _logged_in(app: Application, token: str) -> PageVisitor:
    browser = PageVisitor(app)
    assert browser.send("/login", token=token).status_code == 303
    return browser


def _visitor(app: Application, store: Store, role: Role, scope: Scope | None = None) -> PageVisitor:
    _, token = tokens.create(store.database, f"a {role}", role, scope=scope)
    return _logged_in(app, token)


def _actions(page: str) -> set[str]:
    """Return where the forms of a page lead, but for those that every page has."""
    return set(re.findall(r'action="([^"]+)"', page)) - {"/language", "/logout"}


def test_viewer_sees_everything_and_no_form(
    app: Application, store: Store, admin: PageVisitor
) -> None:
    session = admin.session()
    task = admin.task(session, script="true")
    viewer = _visitor(app, store, Role.VIEWER)
    for path in ("/", session, task):
        shown = viewer.get(path)
        assert shown.status_code == 200
        assert _actions(shown.text) == set()
        assert f'href="{session}/new"' not in shown.text
        assert 'href="/tokens"' not in shown.text
    for path in (f"{session}/delete", f"{task}/cancel", "/sessions"):
        refused = viewer.post(path, data={"csrf": form_token(viewer.get("/").text), "name": "x"})
        assert refused.status_code == 403
        assert "Ask an admin" in refused.text
    for path in ("/tokens", f"{session}/new"):
        assert viewer.get(path).status_code == 403


def test_operator_files_and_cancels_and_sees_no_tokens(app: Application, store: Store) -> None:
    operator = _visitor(app, store, Role.OPERATOR)
    session = operator.session()
    task = operator.task(session, script="true")
    assert operator.send(f"{task}/cancel", confirmed="yes").status_code == 303
    assert 'href="/tokens"' not in operator.get("/").text
    assert operator.get("/tokens").status_code == 403


def test_viewer_of_a_session_sees_that_one_alone(
    app: Application, store: Store, admin: PageVisitor
) -> None:
    own, foreign = admin.session(name="own"), admin.session(name="foreign")
    scope = Scope(kind=ScopeKind.SESSION, value=own.rpartition("/")[2])
    viewer = _visitor(app, store, Role.VIEWER, scope)
    first = viewer.get("/").text
    assert own in first and "foreign" not in first
    assert viewer.get(own).status_code == 200
    assert viewer.get(foreign).status_code == 404


@pytest.mark.parametrize("role", [Role.AGENT, Role.RUNNER])
def test_tokens_of_programs_do_not_log_in(app: Application, store: Store, role: Role) -> None:
    scope = Scope(kind=ScopeKind.SESSION, value="s") if role is Role.AGENT else None
    _, token = tokens.create(store.database, "x", role, scope=scope)
    refused = PageVisitor(app).send("/login", token=token)
    assert refused.status_code == 403
    assert "for agents or runners" in refused.text


def test_admin_creates_a_token_that_is_shown_once_and_revokes_it(
    app: Application, store: Store, admin: PageVisitor
) -> None:
    form = {"name": "anna", "role": "operator", "scope_kind": "", "scope": "", "days": "30"}
    page = admin.send("/tokens", **form)
    found = re.search(rf"{tokens.PREFIX}[0-9a-f]+", page.text)
    assert page.status_code == 200 and found is not None
    anna = _logged_in(app, found[0])
    assert found[0] not in admin.get("/tokens").text

    [row] = tokens.newest(store.database, 10)
    asked = admin.send(f"/tokens/{row['id']}/revoke")
    assert "Revoke the token anna?" in asked.text
    assert anna.get("/").status_code == 200
    assert admin.send(f"/tokens/{row['id']}/revoke", confirmed="yes").status_code == 303
    assert anna.get("/").status_code == 303, "its logins have ended"
    assert PageVisitor(app).send("/login", token=found[0]).status_code == 403


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"name": " "}, "name"),
        ({"role": "king"}, "role"),
        ({"role": "agent"}, "unbound"),
        ({"role": "admin", "scope_kind": "session", "scope": "x"}, "bound"),
        ({"scope_kind": "workspace"}, "scope"),
        ({"days": "x"}, "days"),
        ({"days": "0"}, "days"),
        ({"name": "taken"}, "taken"),
    ],
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_form_of_a_token_says_what_is_wrong(
    admin: PageVisitor, store: Store, wrong: dict[str, str], reason: str, language: str
) -> None:
    tokens.create(store.database, "taken", Role.VIEWER)
    admin.send("/language", language=language)
    page = admin.send("/tokens", **{"name": "anna", "role": "viewer", **wrong})
    assert page.status_code == 400
    texts = catalogue(language)
    assert texts["tokens.fault"] in page.text
    said = texts[f"tokens.refused.{reason}"].format(name="taken", longest="0").replace("'", "&#39;")
    assert said.partition("0")[0] in page.text


def test_server_without_tokens_shows_all_forms_and_no_page_of_tokens(store: Store) -> None:
    browser = PageVisitor(create_application(store))
    session = browser.session()
    assert f"{session}/delete" in _actions(browser.get(session).text)
    assert 'href="/tokens"' not in browser.get("/").text
    assert browser.get("/tokens").status_code == 403
