"""The pages as a browser without scripts gets them: what they show, and what they do."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.databases import url_of
from tests.helpers.page_visitor import PageVisitor, form_token


@pytest.fixture
def browser(store: Store) -> PageVisitor:
    return PageVisitor(create_application(store))


def test_session_and_task_are_created_by_forms(browser: PageVisitor) -> None:
    session = browser.session()
    script = "echo one\r\necho two\r\n"
    fields = {"script": script, "priority": "7", "parameters": '{"env": {"A": "1"}}'}
    task = browser.api(browser.task(session, **fields))
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
    browser: PageVisitor, field: str, value: str
) -> None:
    session = browser.session()
    fields = {"name": "build", "script": "make the-bed", field: value}
    answer = browser.send(f"{session}/tasks", **fields)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text
    assert "make the-bed" in answer.text
    assert f'id="{field}"' in answer.text.partition('aria-invalid="true"')[0].splitlines()[-1]
    assert browser.api(f"{session}/tasks") == []


def test_script_may_be_large(browser: PageVisitor) -> None:
    script = "# 日本語\n" * 100_000
    task = browser.task(browser.session(), script=script)
    assert browser.api(task)["script"] == script


def test_form_that_is_too_large_is_refused_by_a_page(browser: PageVisitor) -> None:
    session = browser.session()
    answer = browser.send(f"{session}/tasks", name="x", script="x" * (17 * 1024 * 1024))
    assert answer.status_code == 413
    assert 'role="alert"' in answer.text


def test_example_fills_the_form(browser: PageVisitor) -> None:
    page = browser.get(f"{browser.session()}/new?template=hello").text
    assert "said hello $steps times" in page
    assert 'value="hello"' in page


def test_task_is_steered_after_confirmation_where_that_destroys(browser: PageVisitor) -> None:
    session = browser.session()
    task = browser.task(session, script="true", parameters='{"a": 1, "autoFix": true}')
    assert browser.send(f"{task}/priority", step="up").status_code == 303
    assert browser.api(task)["priority"] == 1
    asked = browser.send(f"{task}/cancel")
    assert asked.status_code == 200
    assert 'name="confirmed"' in asked.text
    assert browser.api(task)["status"] == "PENDING"
    assert browser.send(f"{task}/cancel", confirmed="yes").status_code == 303
    assert browser.api(task)["status"] == "CANCELLED"
    assert browser.send(f"{task}/again").status_code == 303
    (again,) = browser.api(f"{task}/subtasks")
    assert (again["status"], again["script"]) == ("PENDING", "true")
    assert again["parameters"] == {"a": 1, "retryOf": task.removeprefix("/tasks/")}
    assert browser.send(f"{task}/delete").status_code == 200
    assert browser.send(f"{task}/delete", confirmed="yes").status_code == 303
    assert browser.get(f"/api/v1{task}").status_code == 404


def test_session_is_paused_ended_resumed_and_deleted(browser: PageVisitor) -> None:
    session = browser.session()
    steps = (
        ("pause", "PAUSED"),
        ("resume", "ACTIVE"),
        ("end", "COMPLETED"),
        ("resume", "ACTIVE"),
    )
    for step, status in steps:
        assert browser.send(f"{session}/{step}", confirmed="yes").status_code == 303
        assert browser.api(session)["status"] == status
    assert browser.send(f"{session}/delete").status_code == 200
    assert browser.send(f"{session}/delete", confirmed="yes").status_code == 303
    assert browser.get(session).status_code == 404
    assert 'role="alert"' in browser.get(session).text


def test_session_is_pinned_and_says_so_until_it_is_unpinned(browser: PageVisitor) -> None:
    session = browser.session()
    assert browser.send(f"{session}/pin").status_code == 303
    assert browser.api(session)["pinned"] is True
    assert "nothing of it is pruned" in browser.get(session).text
    assert "Pinned" in browser.get("/").text
    assert browser.send(f"{session}/unpin").status_code == 303
    assert browser.api(session)["pinned"] is False
    assert "nothing of it is pruned" not in browser.get(session).text


def test_refused_move_is_shown_as_a_page(browser: PageVisitor) -> None:
    task = browser.task(browser.session(), script="true")
    browser.send(f"{task}/cancel", confirmed="yes")
    store: Store = browser.app.context.store
    with store.writing() as change:
        change.tables.tasks.update(status="COMPLETED").execute()
    answer = browser.send(f"{task}/cancel", confirmed="yes")
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
    browser: PageVisitor, path: str, fields: dict[str, str]
) -> None:
    session, ended = browser.session(), browser.session()
    browser.send(f"{ended}/end", confirmed="yes")
    task = browser.task(session)
    for status in ("PROCESSING", "COMPLETED"):
        browser.request("PUT", f"/api/v1{task}/status", json={"status": status})
    token = form_token(browser.get("/").text)
    headers = JAPANESE | {"Accept": "text/html,*/*;q=0.8"}
    address = path.format(session=session, ended=ended, task=task)
    answer = browser.post(address, data={"csrf": token, **fields}, headers=headers)
    assert answer.status_code in (400, 404, 409)
    told = re.search(r'role="alert"[^>]*>([^<]+)<', answer.text)
    assert told is not None
    assert re.search("[ぁ-ん]", told.group(1)), told.group(1)


def test_unknown_address_is_a_page_for_people_and_json_for_programs(browser: PageVisitor) -> None:
    page = browser.get("/none", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.content_type) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in page.text
    assert browser.get("/none", headers={"Accept": "*/*"}).content_type == "application/json"
    assert browser.get("/none").json()["error"]["code"] == "ROUTE_NOT_FOUND"


def test_answer_to_a_form_offers_the_way_back_and_keeps_it_in_the_other_language(
    browser: PageVisitor,
) -> None:
    session = browser.session()
    task = browser.task(session)
    token = form_token(browser.get("/").text)
    came_from = {"Referer": f"http://localhost{session}"}
    for fields in ({}, {"csrf": "0" * 64}):
        sent = {"csrf": token, **fields}
        page = browser.post(f"{task}/cancel", data=sent, headers=came_from).text
        # Nobody can ask for the address of the form itself again.
        assert f'name="next" value="{session}"' in page
        assert f'href="{session}"' in page


def test_yes_to_destruction_is_not_where_the_focus_is(browser: PageVisitor) -> None:
    task = browser.task(browser.session())
    page = browser.send(f"{task}/cancel").text
    assert re.search(r'<a class="button"[^>]* autofocus>', page)
    assert page.count("autofocus") == 1


def test_name_hides_no_character_and_turns_no_other_round(browser: PageVisitor) -> None:
    session = browser.session(name="pay \u202eslip")
    task = browser.task(session, name="re\u2066port\x1b", script="# \u202e")
    for path in ("/", session, f"{session}/new", task):
        page = browser.get(path).text
        assert "pay ⟨U+202E⟩slip" in page
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", page)
    assert "re⟨U+2066⟩port⟨U+001B⟩" in page
    assert "re⟨U+2066⟩port⟨U+001B⟩" in browser.send(f"{task}/cancel").text


def test_language_follows_the_browser_until_it_is_switched(browser: PageVisitor) -> None:
    japanese = {"Accept-Language": "ja,en;q=0.5"}
    assert '<html lang="ja">' in browser.get("/", headers=japanese).text
    assert '<html lang="en">' in browser.get("/", headers={"Accept-Language": "fr"}).text
    assert browser.send("/language", language="ja", next="/").status_code == 303
    assert '<html lang="ja">' in browser.get("/").text
    browser.send("/language", language="en", next="/")
    assert '<html lang="en">' in browser.get("/", headers=japanese).text


def test_problem_is_told_in_the_language_of_the_visitor(browser: PageVisitor) -> None:
    japanese = {"Accept-Language": "ja"}
    assert "このセッションはありません" in browser.get("/sessions/none", headers=japanese).text
    assert "There is no such task" in browser.get("/tasks/none").text


def test_first_page_is_small(tmp_path: Path) -> None:
    # With a store of its own: the sessions of all other tests would be on the page too.
    with contextlib.closing(Store.open(tmp_path / "data", url_of(tmp_path / "data"))) as store:
        _check_first_page(PageVisitor(create_application(store)))


def _check_first_page(browser: PageVisitor) -> None:
    browser.session()
    page = browser.get("/").text
    loaded = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    loaded |= {"/static/live.js", "/static/texts.js", "/static/times.js"}
    sizes = [len(page.encode())]
    for path in loaded:
        answer = browser.get(path)
        assert answer.status_code == 200
        sizes.append(len(answer.content))
    assert len(sizes) > 5
    assert sum(sizes) < 150_000


def test_static_file_is_sent_once_and_never_another_file(browser: PageVisitor) -> None:
    for path in ("/static/live.js", "/static/pages/board.js"):
        sent = browser.get(path)
        assert sent.content_type == "text/javascript; charset=utf-8"
        assert sent.headers["X-Content-Type-Options"] == "nosniff"
        again = browser.get(path, headers={"If-None-Match": sent.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    for name in (
        "../page_setup.py",
        "%2e%2e/page_setup.py",
        "..%2fpage_setup.py",
        "pages",
        ".",
        "",
    ):
        assert browser.get(f"/static/{name}").status_code == 404, name


@pytest.mark.parametrize("headers", [{"Referer": "http://[::1"}, {"Host": "[::1"}, {"Host": ""}])
def test_headers_that_are_no_addresses_break_no_page(
    browser: PageVisitor, headers: dict[str, str]
) -> None:
    session = browser.session()
    token = form_token(browser.get("/").text)
    assert browser.post(f"{session}/end", data={"csrf": token}, headers=headers).status_code < 500
    assert browser.get(session, headers=headers).status_code < 500
