"""One chromium and one window for all tests of a worker, and for each test a server of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.helpers.api import Api
from tests.helpers.browsing import CHROMIUM, FLAGS, PATIENCE_MS, Window
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import Workplace, workplace_in


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        assert "CI" not in os.environ, f"there is no {CHROMIUM}: apt-get install chromium"
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shared_window(chromium: Browser) -> Iterator[Window]:
    with Window(chromium) as opened:
        yield opened


@pytest.fixture
def window(shared_window: Window) -> Iterator[Window]:
    """An English window that fails the test when a page runs a script that is not its own.

    What a test changes about the window itself (its clock, its network, its scripts) would stay:
    such a test opens ``own_window``.
    """
    with shared_window.in_use():
        yield shared_window


@pytest.fixture
def own_window(chromium: Browser) -> Iterator[Window]:
    with Window(chromium) as opened:
        yield opened


@pytest.fixture
def page(window: Window) -> Page:
    return window.page


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    with workplace_in(tmp_path) as found:
        yield found


@pytest.fixture
def api(workplace: Workplace) -> Iterator[Api]:
    """A server that lives as long as the test; the workplace's commands speak to it."""
    with embedded_server(workplace.path / "server") as server:
        found = Api(server.url)
        workplace.environment["KERUTA_API_URL"] = found.url
        workplace.environment["KERUTA_SESSION_ID"] = found.session_id
        yield found
