"""The pages in a browser, under the path of a reverse proxy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from keruta_agent.http.proxies import Proxies
from tests.helpers.api import Api
from tests.helpers.browsing import Window
from tests.helpers.embedded_server import embedded_server
from tests.helpers.reverse_proxy import reverse_proxy

PREFIX = "/@anna/work.main/apps/keruta"
TOKEN = "open sesame"


@pytest.mark.parametrize("cuts_off", [True, False])
def test_pages_are_live_and_stay_below_the_path_of_a_proxy(
    tmp_path: Path, chromium: Browser, cuts_off: bool
) -> None:
    with (
        embedded_server(tmp_path, token=TOKEN, proxies=Proxies(root_path=PREFIX)) as server,
        reverse_proxy(server.url, PREFIX, cuts_off=cuts_off) as proxy,
        Window(chromium) as window,
    ):
        api = Api(server.url, token=TOKEN)
        page = window.page
        page.goto(f"{proxy.url}/sessions/{api.session_id}")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        live = page.locator("#live")
        expect(live).to_have_attribute("data-state", "live")
        task = api.file_task("true", name="through the proxy")
        api.write_status(task, "PROCESSING")
        api.write_log(task, "a line")
        expect(page.locator("[data-list=running] pre")).to_have_text("a line")
        page.get_by_role("link", name="through the proxy").click()
        expect(page.locator(".log-row").filter(has_text="a line")).to_be_visible()
        expect(live).to_have_attribute("data-state", "live")
        api.write_status(task, "COMPLETED")
        expect(page.locator("[data-part=head] .badge")).to_have_text("completed")
        page.get_by_role("button", name="Run again").click()
        expect(page.locator("[data-list=waiting] [data-f=name]")).to_have_text("through the proxy")
        page.get_by_role("button", name="Raise priority").click()
        expect(page.locator("[data-list=waiting] [data-f=priority]")).to_have_text("1")
        page.get_by_role("button", name="日本語").click()
        expect(page.get_by_role("heading", name="待機中")).to_be_visible()
        expect(page).to_have_url(re.compile(re.escape(f"{PREFIX}/sessions/")))
        page.get_by_role("link", name="keruta", exact=True).click()
        expect(live).to_have_attribute("data-state", "live")
        # Browsers look there by themselves, whatever a page says.
        assert set(proxy.strayed) <= {"/favicon.ico"}
