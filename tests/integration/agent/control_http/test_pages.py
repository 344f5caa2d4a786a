"""The status page as a browser without scripts gets it: who may see it, and who may order."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import pytest

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import JobState, Work
from tests.helpers.agent_http import TOKEN, agent_application, services_of
from tests.helpers.asgi_client import Client
from tests.helpers.page_visitor import form_token


@pytest.fixture
def browser(agent: Agent) -> Iterator[Client]:
    with agent_application(agent) as app:
        yield Client(app)


def _log_in(browser: Client, token: str = TOKEN) -> int:
    form = {"csrf": form_token(browser.get("/login").text), "token": token}
    return browser.post("/login", data=form).status_code


def test_who_has_not_logged_in_is_led_to_the_login(browser: Client) -> None:
    answer = browser.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=%2F")
    assert "http-token" in browser.get("/login").text
    assert _log_in(browser, "another-token") == 403
    assert browser.get("/").status_code == 303
    # A form of a page that was open when the login ended.
    form = {"csrf": form_token(browser.get("/login").text)}
    assert browser.post("/pause", data=form).headers["Location"] == "/login?next=%2F"
    person = {"Accept": "text/html"}
    assert browser.get("/none", headers=person).headers["Location"] == "/login?next=%2Fnone"


def test_login_opens_the_page_and_reading_but_no_orders_to_the_api(
    agent: Agent, browser: Client
) -> None:
    job = agent.records.jobs.record_script("<b>one</b>", Work(script="true"))
    assert _log_in(browser) == 303
    page = browser.get("/")
    assert "&lt;b&gt;one&lt;/b&gt;" in page.text
    assert "<b>one" not in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert browser.get("/api/v1/status").status_code == 200
    assert browser.post(f"/api/v1/jobs/{job}/cancel").status_code == 401
    assert agent.records.jobs.listing()[0].state is JobState.WAITING


def test_copy_of_a_cookie_is_of_no_use_after_the_logout(agent: Agent, browser: Client) -> None:
    _log_in(browser)
    thief = Client(browser.app)
    thief.cookies.update(browser.cookies)
    assert thief.get("/api/v1/status").status_code == 200

    browser.post("/logout", data={"csrf": form_token(browser.get("/").text)})

    assert thief.get("/api/v1/status").status_code == 401
    assert thief.get("/").status_code == 303


def test_logout_ends_the_stream_of_the_page(browser: Client) -> None:
    _log_in(browser)
    with browser.stream("/api/v1/events") as stream:
        frames = iter(stream)
        assert b"event: connected" in next(frames)
        browser.post("/logout", data={"csrf": form_token(browser.get("/").text)})
        assert list(frames) == []


def test_cookie_is_kept_from_scripts_and_other_sites(browser: Client) -> None:
    form = {"csrf": form_token(browser.get("/login").text), "token": TOKEN}
    cookie = browser.post("/login", data=form).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie


def test_orders_need_the_token_of_the_form_and_cancelling_a_second_yes(
    agent: Agent, browser: Client
) -> None:
    job = agent.records.jobs.record_script("one", Work(script="true"))
    _log_in(browser)
    assert browser.post(f"/jobs/{job}/cancel", data={"confirmed": "yes"}).status_code == 403
    assert browser.post("/pause").status_code == 403
    form = {"csrf": form_token(browser.get("/").text)}
    asked = browser.post(f"/jobs/{job}/cancel", data=form)
    assert asked.status_code == 200
    assert agent.records.jobs.listing()[0].state is JobState.WAITING
    browser.post(f"/jobs/{job}/cancel", data={**form, "confirmed": "yes"})
    assert agent.records.jobs.listing()[0].state is JobState.FINISHED


def test_priority_is_raised_and_the_agent_paused_and_resumed(agent: Agent, browser: Client) -> None:
    job = agent.records.jobs.record_script("one", Work(script="true"), priority=3)
    _log_in(browser)
    form = {"csrf": form_token(browser.get("/").text)}
    assert browser.post(f"/jobs/{job}/priority", data={**form, "to": "up"}).status_code == 303
    assert agent.records.jobs.listing()[0].priority == 4
    browser.post("/pause", data=form)
    assert agent.records.jobs.pause_reason() is not None
    browser.post("/resume", data=form)
    assert agent.records.jobs.pause_reason() is None


def test_refusal_is_a_page_that_leads_back(browser: Client) -> None:
    _log_in(browser)
    answer = browser.get("/?job=4711")
    assert answer.status_code == 404
    assert answer.content_type.startswith("text/html")
    assert "There is no such job" in answer.text


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ({"status": {"api_away": True}}, "The keruta API does not answer."),
        ({"hindrances": {"workers": "one has died"}}, "No job starts:"),
        ({"hindrances": {"session": "unknown"}}, "No task comes:"),
        ({"status": {"paused": "the disk is <full>"}}, "the disk is &lt;full&gt;"),
    ],
)
def test_agent_in_trouble_is_not_said_to_work(
    agent: Agent, trouble: dict[str, Any], told: str
) -> None:
    services = services_of(agent, trouble.get("hindrances"))
    status = {**services.control.status(), **trouble.get("status", {})}
    control = dataclasses.replace(services.control, status=lambda: status)
    with agent_application(agent, dataclasses.replace(services, control=control)) as app:
        browser = Client(app)
        _log_in(browser)
        page = browser.get("/").text
    assert told in page
    assert "The agent works." not in page


def test_page_speaks_japanese(agent: Agent, browser: Client) -> None:
    japanese = {"Accept-Language": "ja"}
    assert '<html lang="ja">' in browser.get("/login", headers=japanese).text
    _log_in(browser)
    job = agent.records.jobs.record_script("pay \u202eslip", Work(script="true"))
    form = {"csrf": form_token(browser.get("/").text), "confirmed": "yes"}
    browser.post(f"/jobs/{job}/cancel", data=form)
    browser.post("/pause", data=form)
    page = browser.get(f"/?job={job}", headers=japanese).text
    for text in (">キャンセル</span>", "このページで一時停止されました。", "(ジョブ 1)"):
        assert text in page
    assert "pay ⟨U+202E⟩slip" in page
    answered = browser.post(f"/jobs/{job}/answer", data={**form, "question": "1"}, headers=japanese)
    assert answered.status_code == 409
    assert "スクリプトはもうこの入力を待っていません" in answered.text


def test_page_stays_below_the_path_that_a_proxy_of_this_machine_tells(
    agent: Agent, browser: Client
) -> None:
    agent.records.jobs.record_script("waits", Work(script="true"))
    told = {"X-Forwarded-Prefix": "/@anna/work.main/apps/agent"}
    prefix = told["X-Forwarded-Prefix"]
    asked = browser.get("/", headers=told)
    assert asked.headers["Location"] == f"{prefix}/login?next=%2F"
    form = {"csrf": form_token(browser.get("/login", headers=told).text), "token": TOKEN}
    entered = browser.post("/login", data=form, headers=told)
    assert entered.headers["Location"] == f"{prefix}/"
    assert f"Path={prefix};" in entered.headers["Set-Cookie"] + ";"
    page = browser.get("/", headers=told).text
    addresses = re.findall(r'(?:src|href|action)="([^"]*)"', page)
    assert f"{prefix}/static/agent.js" in addresses
    assert f"{prefix}/jobs/1/cancel" in addresses
    assert [each for each in addresses if not each.startswith((f"{prefix}/", "#"))] == []
