"""A page says when it is out of touch, and misses nothing when it is back."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from keruta_agent.server.resources import events
from keruta_agent.server.store import changes
from tests.helpers.api import Api
from tests.helpers.browsing import Window, serious_faults
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import Workplace, free_port


@pytest.mark.parametrize("script", ["", "delete globalThis.SharedWorker"], ids=["shared", "alone"])
def test_lost_connection_is_shown_and_what_was_missed_comes(
    workplace: Workplace, own_window: Window, script: str
) -> None:
    own_window.context.add_init_script(script)
    page = own_window.page
    server, url = workplace.server(free_port())
    api = Api(url)
    task = api.file_task("true", name="work")
    live = page.locator("#live")
    page.goto(f"{url}/sessions/{api.session_id}")
    expect(live).to_have_attribute("data-state", "live")
    own_window.context.set_offline(True)
    expect(live).to_have_attribute("data-state", "lost")
    api.file_task("true", name="meanwhile")
    own_window.context.set_offline(False)
    expect(live).to_have_attribute("data-state", "live")
    expect(page.locator("[data-list=waiting] [data-f=name]")).to_have_text(["work", "meanwhile"])
    server.kill()
    expect(live).to_have_attribute("data-state", "lost")
    expect(live).to_contain_text("what you see is old")
    workplace.server(api.port)
    api.write_status(task, "PROCESSING", message="half of it", progress=50)
    api.file_task("true", name="more")
    expect(live).to_have_attribute("data-state", "live")
    expect(page.locator("[data-list=running] [data-f=message]")).to_have_text("half of it")
    expect(page.locator("[data-list=waiting] [data-f=name]")).to_have_text(["meanwhile", "more"])


def test_server_with_too_many_streams_says_so_and_is_asked_again(
    tmp_path: Path, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MOST_STREAMS", 1)
    with embedded_server(tmp_path) as server, contextlib.ExitStack() as opened:
        stream = requests.get(f"{server.url}{events.PATH}", stream=True, timeout=30)
        opened.callback(stream.close)
        page = window.page
        page.goto(server.url)
        live = page.locator("#live")
        expect(live).to_contain_text("Too many pages are open")
        opened.close()
        expect(live).to_have_attribute("data-state", "live")


def test_server_with_a_token_asks_for_it_and_keeps_the_page_live(
    workplace: Workplace, chromium: Browser
) -> None:
    with (
        embedded_server(workplace.path / "server", token="open sesame") as server,
        Window(chromium) as window,
    ):
        page = window.page
        page.goto(server.url)
        assert serious_faults(page) == []
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("This is not the server's token.")
        page.get_by_label("Token").fill("open sesame")
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
        assert page.evaluate("document.cookie") == ""
        other = window.context.new_page()
        other.goto(server.url)
        expect(other.locator("#live")).to_have_attribute("data-state", "live")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("heading")).to_have_text("Log in")
        # The page that is still open is not left in the belief that the server is away.
        expect(other.get_by_role("heading")).to_have_text("Log in")
