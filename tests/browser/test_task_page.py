"""A task's page in a real browser: its log of any length, and nothing hostile that runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from keruta_agent.core.coding import log_groups
from keruta_agent.core.coding.model import Verification
from tests.helpers.api import Api
from tests.helpers.browsing import HOSTILE, Window, serious_faults
from tests.helpers.embedded_server import embedded_server

LINES = 100_000
#: Nodes of a page, whatever the length of the log.
MOST_NODES = 1500
EVIL = " ".join(HOSTILE)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with embedded_server(tmp_path_factory.mktemp("server")) as server:
        yield Api(server.url)


def _post(api: Api, task: str, path: str, body: Any) -> None:
    answer = requests.post(f"{api.url}/api/v1/tasks/{task}/{path}", json=body, timeout=30)
    assert answer.status_code == 201, answer.text


def _line(number: int) -> dict[str, Any]:
    inside = number % 1000 <= 200
    message = f"line {number}"
    if number % 1000 == 0:
        message = f"::group::part {number // 1000}"
    elif number % 1000 == 200:
        message = "::endgroup::"
    return {
        "level": "INFO",
        "source": "stderr" if number % 3 == 0 else "stdout",
        "message": message,
        "metadata": {"keruta": {"group": f"part {number // 1000}"}} if inside else {},
    }


def test_hundred_thousand_lines_are_followed_searched_and_folded(api: Api, page: Page) -> None:
    task = api.file_task("true", name="long")
    for start in range(0, LINES, 10_000):
        _post(api, task, "logs", [_line(number) for number in range(start, start + 10_000)])
    counted: list[str] = []
    page.on("request", lambda request: counted.append(request.url))
    page.goto(f"{api.url}/tasks/{task}")
    # The end is shown first, and followed.
    expect(page.get_by_text(f"line {LINES - 1}", exact=True)).to_be_visible()
    _post(api, task, "logs", {"level": "INFO", "source": "stdout", "message": "one line more"})
    expect(page.get_by_text("one line more")).to_be_visible()
    expect(page.get_by_text(f"Lines: {LINES + 1:,}")).to_be_visible()
    # To count so many for each new line, and for each page that is open, would be dear.
    assert sum(address.endswith("/logs/count") for address in counted) == 1
    page.get_by_label("Search the log").fill("LINE 51234")
    page.keyboard.press("Enter")
    expect(page.locator(".log-hit mark")).to_have_text("line 51234")
    expect(page.locator("[data-log=hits]")).to_have_text("1 / 1")
    # Searching has led away from the end: nothing scrolls under the reader's eyes any more.
    expect(page.get_by_label("Follow")).not_to_be_checked()
    page.locator(".log-window").evaluate("node => { node.scrollTop = 0; }")
    page.get_by_role("button", name="part 0").click()
    rows = page.locator(".log-row")
    expect(rows.filter(has_text="line 201")).to_be_visible()
    expect(rows.filter(has_text="line 5").first).not_to_be_visible()
    expect(page.get_by_role("button", name="part 0")).to_have_attribute("aria-expanded", "false")
    assert page.evaluate("document.querySelectorAll('*').length") < MOST_NODES
    page.get_by_role("button", name="To the end").click()
    expect(page.get_by_text("one line more")).to_be_visible()


def test_hostile_output_and_names_are_shown_and_never_run(api: Api, page: Page) -> None:
    task = api.file_task(EVIL, name=EVIL, description=EVIL, parameters={"evil": EVIL})
    api.write_status(task, "PROCESSING")
    messages = [
        EVIL,
        f"::group::{EVIL}",
        "\x1b[31mred\x1b[0m",
        "\x1b]8;;javascript:x\x07link",
        "turned \u202e round",
    ]
    entries = [
        {"level": "INFO", "source": "stdout", "message": message, "metadata": {"x": EVIL}}
        for message in [*messages, f"first\n{EVIL}"]
    ]
    _post(api, task, "logs", [*entries, {"level": "WARN", "source": EVIL, "message": "x"}])
    _post(api, task, "input-request", {"prompt": EVIL})
    address = f"{api.url}/api/v1/tasks/{task}/artifacts"
    name = EVIL.replace("/", "_") + ".html"
    stored = requests.post(address, files={"file": (name, EVIL, "text/html")}, timeout=30)
    page.goto(f"{api.url}/tasks/{task}")
    expect(page.locator(".log-row").filter(has_text=EVIL).first).to_be_visible()
    expect(page.locator(".ansi-front-1")).to_have_text("red")
    expect(page.get_by_text("turned ⟨U+202E⟩ round")).to_be_visible()
    # A state is told by more than its colour.
    expect(page.locator(".log-warn .log-level")).to_have_text("WARN")
    page.get_by_role("button", name="whole line").click()
    expect(page.locator("dialog pre")).to_have_text(f"first\n{EVIL}")
    page.keyboard.press("Escape")
    expect(page.get_by_label(EVIL)).to_be_visible()
    assert serious_faults(page) == []
    page.locator(".artifacts a").click()
    expect(page.locator("pre.text")).to_have_text(EVIL)
    content = requests.get(
        f"{api.url}/tasks/{task}/artifacts/{stored.json()['id']}/content", timeout=30
    )
    assert content.headers["Content-Disposition"].startswith("attachment")
    assert content.headers["Content-Type"] == "application/octet-stream"
    assert "sandbox" in content.headers["Content-Security-Policy"]


def test_account_of_the_tests_is_readable_for_everybody(api: Api, chromium: Browser) -> None:
    account = Verification(
        status="untested", basis=EVIL, reverted=[f"{EVIL} " + "x" * 400], flaky=["a", "b"]
    )
    task = api.file_task("true", name="coding")
    metadata = {"keruta": {"group": "verification"}}
    lines = [
        {"level": "INFO", "source": "stdout", "message": line, "metadata": metadata}
        for line in log_groups.lines_of(account)
    ]
    _post(api, task, "logs", lines)
    for status in ("PROCESSING", "COMPLETED"):
        api.write_status(task, status)
    narrow = {"width": 360, "height": 740}
    for options in (
        {"color_scheme": "light"},
        {"color_scheme": "dark", "viewport": narrow, "locale": "ja-JP"},
    ):
        with Window(chromium, **options) as window:
            window.page.goto(f"{api.url}/tasks/{task}")
            part = window.page.locator("[data-part=verification]")
            expect(part.get_by_text("UNTESTED")).to_be_visible()
            expect(part.get_by_text(EVIL).first).to_be_visible()
            assert serious_faults(window.page) == []
            assert window.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_changes_is_shown_without_loading_the_page_anew(api: Api, page: Page) -> None:
    task = api.file_task("true", name="changes")
    page.goto(f"{api.url}/tasks/{task}")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    cancel = page.get_by_role("button", name="Cancel")
    cancel.focus()
    api.write_status(task, "PROCESSING")
    expect(page.locator("[data-part=head] .badge")).to_have_text("running")
    # Who hears the page, or works it by keys, loses nothing either.
    expect(page.locator("#said")).to_have_text("running")
    expect(cancel).to_be_focused()
    _post(api, task, "input-request", {"prompt": "Password: ", "secret": True})
    answer = page.get_by_label("Password:")
    expect(answer).to_have_attribute("type", "password")
    # What a person types is not lost when something else of the page changes.
    answer.fill("half an ans")
    requests.patch(
        f"{api.url}/api/v1/tasks/{task}/progress",
        json={"progress": 40, "message": "on its way"},
        timeout=30,
    ).raise_for_status()
    expect(page.locator(".message")).to_have_text("on its way")
    expect(page.locator("#task progress")).to_have_js_property("value", 40)
    address = f"{api.url}/api/v1/tasks/{task}/artifacts"
    requests.post(address, files={"file": ("plan.txt", "x")}, timeout=30).raise_for_status()
    expect(page.locator("[data-part=artifacts]")).to_contain_text("plan.txt")
    expect(page.locator("[data-part=steps]")).to_contain_text("on its way")
    expect(answer).to_have_value("half an ans")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The answer was given to the script.")).to_be_visible()


def test_resources_and_fixes_of_a_failed_task_are_shown(api: Api, page: Page) -> None:
    task = api.file_task("false", name="breaks")
    api.write_status(task, "PROCESSING")
    series = {"elapsedS": [1, 2, 3], "cpuPercent": [10, 90, 20], "memoryBytes": [1e6, 5e6, 2e6]}
    _post(api, task, "metrics", {"run": 1, "series": series})
    api.write_status(task, "FAILED")
    _post(api, task, "auto-fix", {"errorMessage": "broken", "errorCode": "EXIT_1"})
    page.goto(f"{api.url}/tasks/{task}")
    expect(page.get_by_role("img", name="Processor")).to_be_visible()
    memory = page.locator("figure", has_text="Memory")
    memory.get_by_text("As a table").click()
    expect(memory.get_by_role("cell", name="5.0")).to_be_visible()
    expect(page.locator(".lineage li")).to_have_count(2)
    assert serious_faults(page) == []
    page.locator(".lineage a").click()
    expect(page.locator("[aria-current=page]")).to_contain_text("breaks")
    expect(page.locator(".lineage .depth-1")).to_contain_text("auto-fix")
