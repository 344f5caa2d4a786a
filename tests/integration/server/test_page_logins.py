"""Who sees the pages: visitors who have logged in, and forms of the own pages only."""

from __future__ import annotations

import re
import time

import pytest
import time_machine

from keruta_agent.http.application import Application
from keruta_agent.http.pages.logins import LIFETIME_S
from keruta_agent.http.throttle import MOST_FAILURES
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.page_visitor import PageVisitor, form_token

TOKEN = "geheim-日本"
#: For port 80, which has no number in its address.
COOKIE = "keruta_visitor_"
EVIL = "<script>alert(1)</script>\"'>"


@pytest.fixture(scope="module")
def app(store: Store) -> Application:
    return create_application(store)


@pytest.fixture(scope="module")
def guarded(store: Store) -> Application:
    return create_application(store, token=TOKEN)


@pytest.fixture
def browser(app: Application) -> PageVisitor:
    return PageVisitor(app)


@pytest.mark.parametrize("token", [None, "", "0" * 64])
def test_form_of_another_page_is_refused(browser: PageVisitor, token: str | None) -> None:
    fields = {"name": "x"} if token is None else {"name": "x", "csrf": token}
    before = len(browser.api("/sessions"))
    assert browser.post("/sessions", data=fields).status_code == 403
    own = {"name": "x", "csrf": form_token(browser.get("/").text)}
    foreign = {"Origin": "http://evil.example"}
    assert browser.post("/sessions", data=own, headers=foreign).status_code == 403
    assert len(browser.api("/sessions")) == before


def test_form_of_another_visitor_is_refused(app: Application, browser: PageVisitor) -> None:
    browser.get("/")
    token = form_token(PageVisitor(app).get("/").text)
    assert browser.post("/sessions", data={"name": "x", "csrf": token}).status_code == 403


def test_pages_allow_no_script_but_their_own_and_nothing_from_elsewhere(
    browser: PageVisitor,
) -> None:
    session = browser.session(name=EVIL, description=EVIL)
    fields = {"script": EVIL, "parameters": '{"a": "</script><script>"}', "description": EVIL}
    task = browser.task(session, name=EVIL, **fields)
    for path in ("/", session, f"{session}/new", task):
        answer = browser.get(path)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script>" not in answer.text
        assert "style=" not in answer.text
        assert not re.search(r"""(?:src|href|action)="(?!/(?!/)|#)""", answer.text)


def test_visitor_has_to_log_in_and_is_led_back(guarded: Application) -> None:
    browser = PageVisitor(guarded)
    asked = browser.get("/sessions/x?a=b")
    assert asked.status_code == 303
    assert asked.headers["Location"] == "/login?next=%2Fsessions%2Fx%3Fa%3Db"
    assert browser.get("/api/v1/sessions").status_code == 401
    assert browser.send("/login", token="wrong").status_code == 403
    assert browser.get("/").status_code == 303
    entered = browser.send("/login", token=TOKEN, next="/sessions/x?a=b")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/sessions/x?a=b")
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie and "geheim" not in cookie
    assert browser.get("/").status_code == 200
    assert browser.get("/api/v1/sessions").status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example/",
        "https://evil.example",
        "/\\evil.example",
        "javascript:1",
        "\t//x",
        "//[",
        "http://[::1",
    ],
)
def test_login_leads_to_no_other_site(guarded: Application, address: str) -> None:
    entered = PageVisitor(guarded).send("/login", token=TOKEN, next=address)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/")


def test_tokens_cannot_be_guessed_by_the_thousand(store: Store) -> None:
    browser = PageVisitor(create_application(store, token=TOKEN))
    form = {"csrf": form_token(browser.get("/login").text)}
    tries = [
        browser.post("/login", data={**form, "token": str(n)}) for n in range(MOST_FAILURES + 1)
    ]
    assert [answer.status_code for answer in tries] == [403] * MOST_FAILURES + [429]
    assert 0 < int(tries[-1].headers["Retry-After"]) <= 60
    assert "Wait a minute" in tries[-1].text
    # Else the right one would be found all the same.
    assert browser.post("/login", data={**form, "token": TOKEN}).status_code == 429
    bearer = f"Bearer {TOKEN}".encode().decode("latin-1")
    assert browser.get("/", headers={"Authorization": bearer}).status_code == 200


def test_who_has_not_logged_in_sends_small_forms_only(guarded: Application) -> None:
    browser = PageVisitor(guarded)
    form = {"csrf": form_token(browser.get("/login").text), "token": "x" * 100_000}
    assert browser.post("/login", data=form).status_code == 413
    browser.send("/login", token=TOKEN)
    assert browser.send("/sessions", name="x", description="x" * 100_000).status_code == 303


def test_login_alone_writes_nothing_to_the_api(guarded: Application) -> None:
    browser = PageVisitor(guarded)
    browser.send("/login", token=TOKEN)
    body = {"name": "by the API"}
    assert browser.post("/api/v1/sessions", json=body).status_code == 403
    headers = {"X-CSRF-Token": form_token(browser.get("/").text)}
    assert browser.post("/api/v1/sessions", json=body, headers=headers).status_code == 201


def test_who_has_logged_out_sees_nothing(guarded: Application) -> None:
    browser = PageVisitor(guarded)
    browser.send("/login", token=TOKEN)
    assert browser.send("/logout").status_code == 303
    assert browser.get("/").status_code == 303


def test_copy_of_a_cookie_is_of_no_use_after_the_logout(store: Store, guarded: Application) -> None:
    browser, other = PageVisitor(guarded), PageVisitor(guarded)
    for each in (browser, other):
        each.send("/login", token=TOKEN)
    thief = PageVisitor(guarded)
    thief.cookies[COOKIE] = browser.cookies[COOKIE]
    assert thief.get("/api/v1/sessions").status_code == 200

    browser.send("/logout")

    assert thief.get("/api/v1/sessions").status_code == 401
    assert other.get("/").status_code == 200
    for token in ("meanwhile another", TOKEN):  # nor after a restart, or when the token is back
        later = PageVisitor(create_application(store, token=token))
        later.cookies[COOKIE] = thief.cookies[COOKIE]
        assert later.get("/").status_code == 303


def test_cookie_is_of_no_use_after_its_time(
    guarded: Application,
) -> None:
    browser = PageVisitor(guarded)
    browser.send("/login", token=TOKEN)
    thief = PageVisitor(guarded)
    thief.cookies[COOKIE] = browser.cookies[COOKIE]

    with time_machine.travel(time.time() + LIFETIME_S + 1, tick=True):
        assert thief.get("/").status_code == 303


def test_cookie_of_another_token_or_a_changed_one_lets_nobody_in(
    store: Store, guarded: Application
) -> None:
    other = PageVisitor(create_application(store, token="another"))
    other.send("/login", token="another")
    cookie = other.cookies[COOKIE]
    anybody = PageVisitor(guarded)
    anybody.get("/login")
    own = anybody.cookies[COOKIE]
    for value in (cookie, own.replace("anybody", "known"), "known", "....", "é.x"):
        browser = PageVisitor(guarded)
        browser.cookies[COOKIE] = value
        assert browser.get("/").status_code == 303


def test_login_survives_a_restart(store: Store) -> None:
    browser = PageVisitor(create_application(store, token=TOKEN))
    browser.send("/login", token=TOKEN)
    cookie = browser.cookies[COOKIE]
    later = PageVisitor(create_application(store, token=TOKEN))
    later.cookies[COOKIE] = cookie
    assert later.get("/").status_code == 200
