"""Many windows of one browser are live at once, on one stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from keruta_agent.http.serving.host import Host
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.api import Api
from tests.helpers.browsing import Window
from tests.helpers.waiting import wait_until

#: More than the connections that a browser opens to one server.
WINDOWS = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path)) as opened:
        yield opened


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    """Where a server of that store listens."""
    with contextlib.closing(create_application(store)) as app:
        host = Host(app, host="127.0.0.1", port=0)
        host.start()
        yield host.url
        host.stop()


def _opened(window: Window, count: int, url: str) -> Page:
    page = window.page if count == 0 else window.context.new_page()
    page.goto(url)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    return page


def test_eight_windows_of_one_browser_are_live_on_one_stream(
    store: Store, url: str, chromium: Browser
) -> None:
    with Window(chromium) as window:
        sessions = [Api(url) for _ in range(WINDOWS - 1)]
        windows = [
            _opened(window, count, f"{url}/sessions/{api.session_id}")
            for count, api in enumerate(sessions)
        ]
        listing = _opened(window, WINDOWS - 1, url)
        for api, page in zip(sessions, windows, strict=True):
            task = api.file_task("true", name=f"of {api.session_id}")
            names = page.locator("[data-list=waiting] [data-f=name]")
            expect(names).to_have_text([f"of {api.session_id}"])
            api.write_status(task, "PROCESSING", message="half of it", progress=50)
            expect(page.locator("[data-list=running] [data-f=message]")).to_have_text("half of it")
        expect(listing.get_by_text("running 1")).to_have_count(WINDOWS - 1)
        assert store.changes.fanout.streams == 1
        # Whoever leaves takes the stream from nobody, and the last one ends it.
        for page in windows:
            page.close()
        sessions[0].file_task("true", name="later")
        expect(listing.get_by_text("waiting 1")).to_have_count(1)
        listing.goto("about:blank")
        wait_until(lambda: store.changes.fanout.streams == 0, "the stream of no window has ended")


def test_window_that_comes_later_shows_what_happened_since_it_was_read(
    url: str, chromium: Browser
) -> None:
    with Window(chromium) as window:
        api, other = Api(url), Api(url)
        first = _opened(window, 0, f"{url}/sessions/{api.session_id}")
        late = window.context.new_page()

        def happen(route: Route) -> None:
            # The page has been read, and its script is yet to come.
            api.file_task("true", name="meanwhile")
            expect(first.locator("[data-list=waiting] [data-f=name]")).to_have_text(["meanwhile"])
            route.continue_()

        late.route("**/static/pages/board.js", happen)
        late.goto(f"{url}/sessions/{api.session_id}")
        names = late.locator("[data-list=waiting] [data-f=name]")
        expect(names).to_have_text(["meanwhile"])
        other.file_task("true", name="not here")
        api.file_task("true", name="afterwards")
        for page in (first, late):
            names = page.locator("[data-list=waiting] [data-f=name]")
            expect(names).to_have_text(["meanwhile", "afterwards"])


@pytest.mark.parametrize("lack", ["delete globalThis.SharedWorker", "SharedWorker = null"])
def test_browser_without_shared_workers_is_live(url: str, chromium: Browser, lack: str) -> None:
    with Window(chromium) as window:
        window.context.add_init_script(lack)
        api = Api(url)
        page = _opened(window, 0, f"{url}/sessions/{api.session_id}")
        api.file_task("true", name="work")
        expect(page.locator("[data-list=waiting] [data-f=name]")).to_have_text(["work"])
