"""The pages as a browser without scripts gets them: who may see them, and what they do."""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from pathlib import Path
from typing import Any

import flask
import pytest
import time_machine
from flask.testing import FlaskClient

from keruta_agent.http.pages.logins import LIFETIME_S, MOST_WRONG
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store

TOKEN = "geheim-日本"
#: For port 80, which has no number in its address.
COOKIE = "keruta_visitor_"
EVIL = "<script>alert(1)</script>\"'>"


@pytest.fixture(scope="module")
def app(store: Store) -> flask.Flask:
    return create_application(store)


@pytest.fixture(scope="module")
def guarded(store: Store) -> flask.Flask:
    return create_application(store, token=TOKEN)


@pytest.fixture
def browser(app: flask.Flask) -> FlaskClient:
    return _browser(app)


def _browser(app: flask.Flask) -> FlaskClient:
    return app.test_client()


def _form_token(page: str) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', page)
    assert found is not None
    return found.group(1)


def _send(browser: FlaskClient, path: str, **fields: str) -> Any:
    token = _form_token(browser.get("/login" if path == "/login" else "/").text)
    return browser.post(path, data={"csrf": token, **fields})


def _session(browser: FlaskClient, **fields: str) -> str:
    answer = _send(browser, "/sessions", **{"name": "work", **fields})
    assert answer.status_code == 303
    return str(answer.headers["Location"]).partition("?")[0]


def _task(browser: FlaskClient, session: str, **fields: str) -> str:
    name = fields.setdefault("name", str(uuid.uuid4()))
    assert _send(browser, f"{session}/tasks", **fields).status_code == 303
    tasks = browser.get(f"/api/v1{session}/tasks").json
    return next(f"/tasks/{task['id']}" for task in tasks if task["name"] == name)


def _api(browser: FlaskClient, path: str) -> Any:
    return browser.get(f"/api/v1{path}").json


def test_session_and_task_are_created_by_forms(browser: FlaskClient) -> None:
    session = _session(browser)
    script = "echo one\r\necho two\r\n"
    fields = {"script": script, "priority": "7", "parameters": '{"env": {"A": "1"}}'}
    task = _api(browser, _task(browser, session, **fields))
    assert task["script"] == "echo one\necho two\n"
    assert (task["priority"], task["parameters"]) == (7, {"env": {"A": "1"}})
    assert task["name"] in browser.get(session).text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "  "),
        ("priority", "high"),
        ("priority", "99999999999"),
        ("parameters", "[1]"),
        ("parameters", "{'a': 1}"),
        ("parameters", "[" * 100_000),
    ],
)
def test_wrong_field_is_named_and_nothing_typed_is_lost(
    browser: FlaskClient, field: str, value: str
) -> None:
    session = _session(browser)
    fields = {"name": "build", "script": "make the-bed", field: value}
    answer = _send(browser, f"{session}/tasks", **fields)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "make the-bed" in answer.text
    assert f'id="{field}"' in answer.text.partition('aria-invalid="true"')[0].splitlines()[-1]
    assert _api(browser, f"{session}/tasks") == []


def test_script_may_be_large(browser: FlaskClient) -> None:
    script = "# 日本語\n" * 100_000
    task = _task(browser, _session(browser), script=script)
    assert _api(browser, task)["script"] == script


def test_form_that_is_too_large_is_refused_by_a_page(browser: FlaskClient) -> None:
    session = _session(browser)
    answer = _send(browser, f"{session}/tasks", name="x", script="x" * (65 * 1024 * 1024))
    assert answer.status_code == 413
    assert 'role="alert"' in answer.text


def test_example_fills_the_form(browser: FlaskClient) -> None:
    page = browser.get(f"{_session(browser)}/new?template=hello").text
    assert "said hello $steps times" in page
    assert 'value="hello"' in page


def test_task_is_steered_after_confirmation_where_that_destroys(browser: FlaskClient) -> None:
    session = _session(browser)
    task = _task(browser, session, script="true", parameters='{"a": 1, "autoFix": true}')
    assert _send(browser, f"{task}/priority", step="up").status_code == 303
    assert _api(browser, task)["priority"] == 1
    asked = _send(browser, f"{task}/cancel")
    assert asked.status_code == 200
    assert 'name="confirmed"' in asked.text
    assert _api(browser, task)["status"] == "PENDING"
    assert _send(browser, f"{task}/cancel", confirmed="yes").status_code == 303
    assert _api(browser, task)["status"] == "CANCELLED"
    assert _send(browser, f"{task}/again").status_code == 303
    (again,) = _api(browser, f"{task}/subtasks")
    assert (again["status"], again["script"]) == ("PENDING", "true")
    assert again["parameters"] == {"a": 1, "retryOf": task.removeprefix("/tasks/")}
    assert _send(browser, f"{task}/delete").status_code == 200
    assert _send(browser, f"{task}/delete", confirmed="yes").status_code == 303
    assert browser.get(f"/api/v1{task}").status_code == 404


def test_session_is_paused_ended_resumed_and_deleted(browser: FlaskClient) -> None:
    session = _session(browser)
    steps = (
        ("pause", "PAUSED"),
        ("resume", "ACTIVE"),
        ("end", "COMPLETED"),
        ("resume", "ACTIVE"),
    )
    for step, status in steps:
        assert _send(browser, f"{session}/{step}", confirmed="yes").status_code == 303
        assert _api(browser, session)["status"] == status
    assert _send(browser, f"{session}/delete").status_code == 200
    assert _send(browser, f"{session}/delete", confirmed="yes").status_code == 303
    assert browser.get(session).status_code == 404
    assert 'role="alert"' in browser.get(session).text


def test_refused_move_is_shown_as_a_page(browser: FlaskClient) -> None:
    task = _task(browser, _session(browser), script="true")
    _send(browser, f"{task}/cancel", confirmed="yes")
    store: Store = browser.application.extensions["keruta-store"]
    with store.writing() as change:
        change.tables.tasks.update(status="COMPLETED").execute()
    answer = _send(browser, f"{task}/cancel", confirmed="yes")
    assert answer.status_code == 409
    assert "has ended meanwhile" in answer.text


JAPANESE = {"Accept-Language": "ja"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("{session}/tasks", {"name": "x" * 1001}),
        ("{session}/tasks", {"name": "x", "priority": "9" * 11}),
        ("{session}/tasks", {"name": "x", "parameters": "{'a': 1}"}),
        ("{session}/tasks", {"name": "x", "parameters": '{"a": 1e999}'}),
        ("/sessions", {"name": " "}),
        ("/sessions", {"name": "x", "repository": "x" * 4001}),
        ("/sessions", {"name": "x", "ref": "\0"}),
        ("{ended}/tasks", {"name": "x"}),
        ("{task}/cancel", {"confirmed": "yes"}),
        ("{task}/answer", {"question": "1", "answer": "x"}),
        ("{task}/priority", {"step": "sideways"}),
        ("/tasks/none/again", {}),
        ("/language/none", {}),
    ],
)
def test_what_a_person_can_do_wrong_is_told_in_their_language(
    browser: FlaskClient, path: str, fields: dict[str, str]
) -> None:
    session, ended = _session(browser), _session(browser)
    _send(browser, f"{ended}/end", confirmed="yes")
    task = _task(browser, session)
    for status in ("PROCESSING", "COMPLETED"):
        browser.put(f"/api/v1{task}/status", json={"status": status})
    token = _form_token(browser.get("/").text)
    headers = JAPANESE | {"Accept": "text/html,*/*;q=0.8"}
    address = path.format(session=session, ended=ended, task=task)
    answer = browser.post(address, data={"csrf": token, **fields}, headers=headers)
    assert answer.status_code in (400, 404, 409)
    told = re.search(r'role="alert"[^>]*>([^<]+)<', answer.text)
    assert told is not None
    assert re.search("[ぁ-ん]", told.group(1)), told.group(1)


def test_unknown_address_is_a_page_for_people_and_json_for_programs(browser: FlaskClient) -> None:
    page = browser.get("/none", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "There is no such page" in page.text
    assert browser.get("/none", headers={"Accept": "*/*"}).mimetype == "application/json"
    assert browser.get("/none").json["error"]["code"] == "ROUTE_NOT_FOUND"


def test_answer_to_a_form_offers_the_way_back_and_keeps_it_in_the_other_language(
    browser: FlaskClient,
) -> None:
    session = _session(browser)
    task = _task(browser, session)
    token = _form_token(browser.get("/").text)
    came_from = {"Referer": f"http://localhost{session}"}
    for fields in ({}, {"csrf": "0" * 64}):
        sent = {"csrf": token, **fields}
        page = browser.post(f"{task}/cancel", data=sent, headers=came_from).text
        # Nobody can ask for the address of the form itself again.
        assert f'name="next" value="{session}"' in page
        assert f'href="{session}"' in page


def test_yes_to_destruction_is_not_where_the_focus_is(browser: FlaskClient) -> None:
    task = _task(browser, _session(browser))
    page = _send(browser, f"{task}/cancel").text
    assert re.search(r'<a class="button"[^>]* autofocus>', page)
    assert page.count("autofocus") == 1


def test_name_hides_no_character_and_turns_no_other_round(browser: FlaskClient) -> None:
    session = _session(browser, name="pay \u202eslip")
    task = _task(browser, session, name="re\u2066port\x1b", script="# \u202e")
    for path in ("/", session, f"{session}/new", task):
        page = browser.get(path).text
        assert "pay ⟨U+202E⟩slip" in page
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", page)
    assert "re⟨U+2066⟩port⟨U+001B⟩" in page
    assert "re⟨U+2066⟩port⟨U+001B⟩" in _send(browser, f"{task}/cancel").text


@pytest.mark.parametrize("token", [None, "", "0" * 64])
def test_form_of_another_page_is_refused(browser: FlaskClient, token: str | None) -> None:
    fields = {"name": "x"} if token is None else {"name": "x", "csrf": token}
    before = len(_api(browser, "/sessions"))
    assert browser.post("/sessions", data=fields).status_code == 403
    own = {"name": "x", "csrf": _form_token(browser.get("/").text)}
    foreign = {"Origin": "http://evil.example"}
    assert browser.post("/sessions", data=own, headers=foreign).status_code == 403
    assert len(_api(browser, "/sessions")) == before


def test_form_of_another_visitor_is_refused(app: flask.Flask, browser: FlaskClient) -> None:
    browser.get("/")
    token = _form_token(_browser(app).get("/").text)
    assert browser.post("/sessions", data={"name": "x", "csrf": token}).status_code == 403


def test_pages_allow_no_script_but_their_own_and_nothing_from_elsewhere(
    browser: FlaskClient,
) -> None:
    session = _session(browser, name=EVIL, description=EVIL)
    fields = {"script": EVIL, "parameters": '{"a": "</script><script>"}', "description": EVIL}
    task = _task(browser, session, name=EVIL, **fields)
    for path in ("/", session, f"{session}/new", task):
        answer = browser.get(path)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "<script>" not in answer.text
        assert "style=" not in answer.text
        assert not re.search(r"""(?:src|href|action)="(?!/(?!/)|#)""", answer.text)


def test_visitor_has_to_log_in_and_is_led_back(guarded: flask.Flask) -> None:
    browser = _browser(guarded)
    asked = browser.get("/sessions/x?a=b")
    assert asked.status_code == 303
    assert asked.headers["Location"] == "/login?next=%2Fsessions%2Fx%3Fa%3Db"
    assert browser.get("/api/v1/sessions").status_code == 401
    assert _send(browser, "/login", token="wrong").status_code == 403
    assert browser.get("/").status_code == 303
    entered = _send(browser, "/login", token=TOKEN, next="/sessions/x?a=b")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/sessions/x?a=b")
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
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
def test_login_leads_to_no_other_site(guarded: flask.Flask, address: str) -> None:
    entered = _send(_browser(guarded), "/login", token=TOKEN, next=address)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/")


def test_tokens_cannot_be_guessed_by_the_thousand(store: Store) -> None:
    browser = _browser(create_application(store, token=TOKEN))
    form = {"csrf": _form_token(browser.get("/login").text)}
    tries = [browser.post("/login", data={**form, "token": str(n)}) for n in range(MOST_WRONG + 1)]
    assert [answer.status_code for answer in tries] == [403] * MOST_WRONG + [429]
    assert 0 < int(tries[-1].headers["Retry-After"]) <= 60
    assert "Wait a minute" in tries[-1].text
    # Else the right one would be found all the same.
    assert browser.post("/login", data={**form, "token": TOKEN}).status_code == 429
    assert browser.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code != 429


def test_who_has_not_logged_in_sends_small_forms_only(guarded: flask.Flask) -> None:
    browser = _browser(guarded)
    form = {"csrf": _form_token(browser.get("/login").text), "token": "x" * 100_000}
    assert browser.post("/login", data=form).status_code == 413
    _send(browser, "/login", token=TOKEN)
    assert _send(browser, "/sessions", name="x", description="x" * 100_000).status_code == 303


def test_login_alone_writes_nothing_to_the_api(guarded: flask.Flask) -> None:
    browser = _browser(guarded)
    _send(browser, "/login", token=TOKEN)
    body = {"name": "by the API"}
    assert browser.post("/api/v1/sessions", json=body).status_code == 403
    headers = {"X-CSRF-Token": _form_token(browser.get("/").text)}
    assert browser.post("/api/v1/sessions", json=body, headers=headers).status_code == 201


def test_who_has_logged_out_sees_nothing(guarded: flask.Flask) -> None:
    browser = _browser(guarded)
    _send(browser, "/login", token=TOKEN)
    assert _send(browser, "/logout").status_code == 303
    assert browser.get("/").status_code == 303


def test_copy_of_a_cookie_is_of_no_use_after_the_logout(store: Store, guarded: flask.Flask) -> None:
    browser, other = _browser(guarded), _browser(guarded)
    for each in (browser, other):
        _send(each, "/login", token=TOKEN)
    thief = _browser(guarded)
    thief.set_cookie(COOKIE, _cookie(browser))
    assert thief.get("/api/v1/sessions").status_code == 200

    _send(browser, "/logout")

    assert thief.get("/api/v1/sessions").status_code == 401
    assert other.get("/").status_code == 200
    for token in ("meanwhile another", TOKEN):  # nor after a restart, or when the token is back
        later = _browser(create_application(store, token=token))
        later.set_cookie(COOKIE, _cookie(thief))
        assert later.get("/").status_code == 303


def test_cookie_is_of_no_use_after_its_time(
    guarded: flask.Flask,
) -> None:
    browser = _browser(guarded)
    _send(browser, "/login", token=TOKEN)
    thief = _browser(guarded)
    thief.set_cookie(COOKIE, _cookie(browser))

    with time_machine.travel(time.time() + LIFETIME_S + 1, tick=True):
        assert thief.get("/").status_code == 303


def _cookie(browser: FlaskClient) -> str:
    cookie = browser.get_cookie(COOKIE)
    assert cookie is not None
    return cookie.value


def test_cookie_of_another_token_or_a_changed_one_lets_nobody_in(
    store: Store, guarded: flask.Flask
) -> None:
    other = _browser(create_application(store, token="another"))
    _send(other, "/login", token="another")
    cookie = other.get_cookie(COOKIE)
    assert cookie is not None
    anybody = _browser(guarded)
    anybody.get("/login")
    own = anybody.get_cookie(COOKIE)
    assert own is not None
    for value in (cookie.value, own.value.replace("anybody", "known"), "known", "....", "é.x"):
        browser = _browser(guarded)
        browser.set_cookie(COOKIE, value)
        assert browser.get("/").status_code == 303


def test_login_survives_a_restart(store: Store) -> None:
    browser = _browser(create_application(store, token=TOKEN))
    _send(browser, "/login", token=TOKEN)
    cookie = browser.get_cookie(COOKIE)
    assert cookie is not None
    later = _browser(create_application(store, token=TOKEN))
    later.set_cookie(COOKIE, cookie.value)
    assert later.get("/").status_code == 200


def test_language_follows_the_browser_until_it_is_switched(browser: FlaskClient) -> None:
    japanese = {"Accept-Language": "ja,en;q=0.5"}
    assert '<html lang="ja">' in browser.get("/", headers=japanese).text
    assert '<html lang="en">' in browser.get("/", headers={"Accept-Language": "fr"}).text
    assert _send(browser, "/language", language="ja", next="/").status_code == 303
    assert '<html lang="ja">' in browser.get("/").text
    _send(browser, "/language", language="en", next="/")
    assert '<html lang="en">' in browser.get("/", headers=japanese).text


def test_problem_is_told_in_the_language_of_the_visitor(browser: FlaskClient) -> None:
    japanese = {"Accept-Language": "ja"}
    assert "このセッションはありません" in browser.get("/sessions/none", headers=japanese).text
    assert "There is no such task" in browser.get("/tasks/none").text


def test_first_page_is_small(tmp_path: Path) -> None:
    # With a store of its own: the sessions of all other tests would be on the page too.
    with contextlib.closing(Store.open(tmp_path / "data")) as store:
        _check_first_page(_browser(create_application(store)))


def _check_first_page(browser: FlaskClient) -> None:
    _session(browser)
    page = browser.get("/").text
    loaded = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    loaded |= {"/static/live.js", "/static/texts.js", "/static/times.js"}
    sizes = [len(page.encode())]
    for path in loaded:
        with browser.get(path) as answer:
            assert answer.status_code == 200
            sizes.append(len(answer.data))
    assert len(sizes) > 5
    assert sum(sizes) < 150_000


def test_key_of_the_cookies_is_private(store: Store, app: flask.Flask) -> None:
    key = Path(store.directory.path, "pages.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(key.read_bytes()) == 32
