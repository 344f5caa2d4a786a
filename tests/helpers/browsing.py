"""Drive Debian's chromium, and notice what no page of keruta may do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, Request

CHROMIUM: Final = Path("/usr/bin/chromium")
#: It asks nobody but the tests' own servers.
FLAGS: Final = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds: machines may be busy.
PATIENCE_MS: Final = 30_000

#: What each dangerous text would do if it were taken for markup.
HOSTILE: Final = (
    "<script>alert('tag')</script>",
    "\"><img src=x onerror=alert('image')>",
    "'-alert('quote')-'",
    "</textarea></template><svg onload=alert('svg')>",
    "{{ 7 * 7 }}${alert('template')}",
)


class Window:
    """A window without cookies; after each use nothing strange may have happened in it."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        options = {"locale": "en-GB", "timezone_id": "Asia/Tokyo", **options}
        self._context = browser.new_context(**options)
        self._context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self._context.new_page()
        #: Dialogs that opened, and errors of scripts.
        self.faults: list[str] = []
        self._hosts: set[str] = set()
        self.page.on("dialog", self._note_dialog)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self._note_request)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context.close()
        if kind is None:
            self._check()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Use it for the length of the block and leave it as it was: empty, without cookies.

        A new one costs two processes of the browser, seconds of a processor.
        """
        self.faults.clear()
        self._hosts.clear()
        yield
        # As a script of the page does it: what is typed into the address bar gets a new process.
        self.page.evaluate("location.replace('about:blank')")
        self.page.wait_for_url("about:blank")
        self._context.clear_cookies()
        self._check()

    def _check(self) -> None:
        assert self.faults == []
        assert self._hosts <= {"127.0.0.1"}

    @property
    def context(self) -> Any:
        """Its cookies and network, as playwright has them."""
        return self._context

    def _note_dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note_request(self, request: Request) -> None:
        host = urlsplit(request.url).hostname
        if host is not None:
            self._hosts.add(host)


def serious_faults(page: Page) -> list[str]:
    """Return what axe finds wrong with a page: rule, weight, and where."""
    found = Axe().run(page)
    return [
        f"{fault['id']} ({fault['impact']}): {[node['target'] for node in fault['nodes']]}"
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
