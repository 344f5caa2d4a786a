"""Server's and daemon's pages in a real browser, with a real daemon that runs real scripts."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.helpers.api import Api
from tests.helpers.browsing import HOSTILE, serious_faults
from tests.helpers.processes import Workplace, free_port

EVIL = " ".join(HOSTILE)
TOKEN = "a-token-of-the-test-that-is-long-enough"
_ASKS = "echo ready; printf 'Your name: '; read -r name; echo; echo \"hello $name\""


def test_prompt_is_answered_on_the_task_page(workplace: Workplace, api: Api, page: Page) -> None:
    task = api.file_task(_ASKS, name="asks")
    page.goto(f"{api.url}/tasks/{task}")
    workplace.daemon(KERUTA_USE_HTTP_INPUT="true")
    page.get_by_label("Your name:").fill("世界")
    page.keyboard.press("Enter")
    expect(page.locator(".log-row").filter(has_text="hello 世界")).to_be_visible()
    expect(page.locator("[data-part=head] .badge")).to_have_text("completed")


def test_daemon_shows_what_runs_takes_answers_and_cancels(
    workplace: Workplace, api: Api, page: Page
) -> None:
    api.file_task(f"{_ASKS}; sleep 60", name=EVIL)
    api.file_task("echo begun; sleep 60", name="the next one")
    port = free_port()
    workplace.daemon(KERUTA_DAEMON_PORT=str(port), KERUTA_DAEMON_TOKEN=TOKEN)
    page.goto(f"http://127.0.0.1:{port}/")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("[data-part=current]")).to_contain_text(EVIL)
    expect(page.locator("[data-part=waiting]")).to_contain_text("the next one")
    page.get_by_label("Your name:").fill("世界")
    assert serious_faults(page) == []
    page.keyboard.press("Enter")
    expect(page.locator(".log-row").filter(has_text="hello 世界")).to_be_visible()
    page.locator("[data-part=current]").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-part=ended]")).to_contain_text("cancelled")
    # The log shown is that of what runs.
    expect(page.get_by_role("heading", name="Log of the next one (job 2)")).to_be_visible()
    expect(page.locator(".log-row").filter(has_text="begun")).to_be_visible()
