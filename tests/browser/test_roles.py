"""The pages in a browser for admins and for those who only look."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.helpers.browsing import Window, serious_faults
from tests.helpers.embedded_server import embedded_server

TOKEN = "geheim"


def _log_in(page: Page, url: str, token: str) -> None:
    page.goto(f"{url}/login")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()


def test_admin_makes_a_token_and_its_holder_logs_in(
    chromium: Browser, page: Page, tmp_path: Path
) -> None:
    with embedded_server(tmp_path / "server", token=TOKEN) as server:
        _log_in(page, server.url, TOKEN)
        page.get_by_role("link", name="Tokens").click()
        page.get_by_label("Name", exact=True).fill("anna")
        page.get_by_label("Role", exact=True).select_option("viewer")
        page.get_by_role("button", name="Create").click()
        token = page.locator("main pre").inner_text()
        with Window(chromium) as holder:
            _log_in(holder.page, server.url, token)
            expect(holder.page.get_by_text("New session")).to_have_count(0)
            expect(holder.page.get_by_role("link", name="Tokens")).to_have_count(0)


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light"},
        {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
    ],
    ids=["light", "dark and narrow"],
)
def test_axe_finds_no_serious_fault_in_the_pages_of_admins(
    chromium: Browser, tmp_path: Path, options: dict[str, object]
) -> None:
    with (
        embedded_server(tmp_path / "server", token=TOKEN) as server,
        Window(chromium, **options) as window,
    ):
        _log_in(window.page, server.url, TOKEN)
        window.page.goto(f"{server.url}/tokens")
        window.page.get_by_label("Name", exact=True).fill(
            "a name that is rather long for a telephone"
        )
        window.page.get_by_role("button", name="Create").click()
        expect(window.page.locator("main pre")).to_be_visible()
        assert serious_faults(window.page) == []
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert window.page.evaluate(fits)
        window.page.goto(f"{server.url}/audit")
        expect(window.page.get_by_text("POST /tokens")).to_be_visible()
        assert serious_faults(window.page) == []
        assert window.page.evaluate(fits)
