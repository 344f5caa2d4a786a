"""A person files tasks in the browser, sees them run, and steers them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from playwright.sync_api import Browser, Page, expect

from tests.helpers.api import Api
from tests.helpers.browsing import HOSTILE, Window, serious_faults
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until

NEVER_ENDS = "echo begun; while :; do sleep 0.1; done"


def group(page: Page, name: str) -> str:
    return f"[data-list={name}] [data-f=name]"


def test_task_is_filed_and_seen_running_to_its_end(
    api: Api, workplace: Workplace, page: Page
) -> None:
    page.goto(f"{api.url}/sessions/{api.session_id}")
    expect(page.get_by_text("Nothing waits. File a task")).to_be_visible()
    page.get_by_role("link", name="File a task").click()
    page.get_by_label("Name", exact=True).fill("greet")
    page.get_by_label("Script", exact=True).fill(
        'keruta progress 50; echo "line $WORD"; until [ -e go ]; do sleep 0.1; done'
    )
    page.get_by_label("Priority", exact=True).fill("3")
    page.get_by_label("Parameters").fill('{"env": {"WORD": "こんにちは"}}')
    page.get_by_role("button", name="File task").click()
    expect(page.get_by_text("The task is filed.")).to_be_visible()
    expect(page.locator(group(page, "waiting"))).to_have_text("greet")
    work = workplace.path / "work"
    work.mkdir()
    workplace.daemon(KERUTA_WORKING_DIR=str(work))
    expect(page.locator(group(page, "running"))).to_have_text("greet")
    expect(page.locator("[data-list=running] progress")).to_have_js_property("value", 50)
    expect(page.locator("[data-list=running] pre")).to_have_text("line こんにちは")
    expect(page.locator("[data-empty=waiting]")).to_be_visible()
    (work / "go").touch()
    expect(page.locator(group(page, "ended"))).to_have_text("greet")
    expect(page.locator("[data-list=ended] .badge")).to_have_text("completed")
    expect(page.locator("[data-list=ended] [data-f=took]")).to_have_text(re.compile(r"\d s$"))


def test_list_of_sessions_keeps_up_while_somebody_types(api: Api, page: Page) -> None:
    page.goto(api.url)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.get_by_text("New session").click()
    page.get_by_label("Name", exact=True).fill("half a na")
    api.file_task("true")
    expect(page.locator(".card", has_text="acceptance")).to_contain_text("waiting 1")
    Api(api.url)
    expect(page.get_by_role("link", name="acceptance")).to_have_count(2)
    expect(page.get_by_label("Name", exact=True)).to_have_value("half a na")


def test_running_task_is_cancelled(api: Api, workplace: Workplace, page: Page) -> None:
    task = api.file_task(NEVER_ENDS, name="endless")
    workplace.daemon()
    page.goto(f"{api.url}/sessions/{api.session_id}")
    expect(page.locator("[data-list=running] pre")).to_have_text("begun")
    page.locator("[data-list=running]").get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading")).to_have_text("Cancel the task “endless”?")
    assert serious_faults(page) == []
    page.get_by_role("button", name="Cancel task").click()
    expect(page.locator("[data-list=ended] .badge")).to_have_text("cancelled")
    assert api.task(task)["status"] == "CANCELLED"
    expect(page.get_by_role("link", name="Answer")).to_have_count(0)
    wait_until(lambda: not workplace.run_processes(), "its script is stopped")


def test_order_follows_the_priority(api: Api, page: Page) -> None:
    for name in ("first", "second", "third"):
        api.file_task("true", name=name)
    page.goto(f"{api.url}/sessions/{api.session_id}")
    expect(page.locator(group(page, "waiting"))).to_have_text(["first", "second", "third"])
    third = page.locator(".card", has_text="third")
    third.get_by_role("button", name="Raise priority").press("Enter")
    expect(page.locator(group(page, "waiting"))).to_have_text(["third", "first", "second"])
    expect(third.get_by_role("button", name="Raise priority")).to_be_focused()
    # Filed behind the page's back.
    api.file_task("true", name="urgent", priority=9)
    names = ["urgent", "third", "first", "second"]
    expect(page.locator(group(page, "waiting"))).to_have_text(names)
    expect(page.locator("[data-count=waiting]")).to_have_text("4")


def test_paused_session_starts_nothing_and_goes_on_in_the_new_order(
    api: Api, workplace: Workplace, page: Page
) -> None:
    page.goto(f"{api.url}/sessions/{api.session_id}")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("what runs goes on to its end")).to_be_visible()
    workplace.daemon()
    wait_until(
        lambda: "the session is PAUSED" in workplace.run("queue", "list").stdout, "it is paused"
    )
    first, second = (api.file_task("true", name=name) for name in ("first", "second"))
    wait_until(lambda: "second" in workplace.run("queue", "list").stdout, "both are recorded")
    card = page.locator("[data-list=waiting] .card", has_text="second")
    card.get_by_role("button", name="Raise priority").click()
    expect(page.locator(group(page, "waiting"))).to_have_text(["second", "first"])

    def in_new_order() -> bool:
        listing = workplace.run("queue", "list").stdout
        return listing.index("second") < listing.index("first")

    wait_until(in_new_order, "the agent has the new order")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(group(page, "ended"))).to_have_text(["first", "second"])
    assert api.task(first)["status"] == api.task(second)["status"] == "COMPLETED"


def test_no_text_is_taken_for_markup(api: Api, window: Window) -> None:
    page = window.page
    page.goto(f"{api.url}/sessions/{api.session_id}")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    # The last one ends what a page might have begun.
    for text in (HOSTILE[0], "".join(HOSTILE)):
        task = api.file_task(text, name=text, description=text, parameters={text: text})
        api.write_status(task, "PROCESSING", message=text)
        api.write_log(task, text)
        expect(page.locator(".card h3", has_text=text)).to_be_visible()
        expect(page.locator("[data-list=running] pre", has_text=text)).to_be_visible()
        api.write_status(task, "FAILED", message=text, errorCode=text)
        expect(page.locator("[data-list=ended] p", has_text=text).first).to_be_visible()
        page.reload()
        page.goto(f"{api.url}/tasks/{task}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(text)
        page.goto(f"{api.url}/sessions/{api.session_id}/new?template={text}")
        page.goto(f"{api.url}/sessions/{api.session_id}")
    page.goto(f"{api.url}/")
    page.get_by_text("New session").click()
    page.get_by_label("Name", exact=True).fill(HOSTILE[0])
    page.get_by_label("Description", exact=True).fill(HOSTILE[1])
    page.get_by_role("button", name="Create session").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE[0])
    assert page.evaluate("document.scripts.length") == 2


def test_page_reads_in_both_languages_and_in_the_zone_of_the_viewer(
    api: Api, chromium: Browser
) -> None:
    api.file_task("true", name="work")
    with Window(chromium, locale="ja-JP") as window:
        page = window.page
        page.goto(f"{api.url}/sessions/{api.session_id}")
        expect(page.get_by_role("heading", name="待機中")).to_be_visible()
        expect(page.locator("#live")).to_have_text("ライブ")
        created = page.locator("[data-list=waiting] time")
        shown = created.evaluate(
            "e => e.textContent === new Intl.DateTimeFormat('ja', {timeStyle: 'medium',"
            " timeZone: 'Asia/Tokyo'}).format(new Date(e.dateTime))"
        )
        assert shown, created.text_content()
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading", name="Waits")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Waits")).to_be_visible()


def test_times_are_right_whatever_the_clock_of_the_viewer_shows(
    api: Api, own_window: Window
) -> None:
    page = own_window.page
    task = api.file_task("true", name="work")
    api.write_status(task, "PROCESSING")
    page.clock.install(time=datetime.now() + timedelta(hours=3))
    page.goto(f"{api.url}/sessions/{api.session_id}")
    card = page.locator("[data-list=running]")
    expect(card.locator("[data-f=took]")).to_have_text(re.compile(r"^\d+(\.\d)? s$"))
    # What was filed yesterday has a date, also on a page that stayed open.
    page.clock.fast_forward("24:00:00")
    expect(card.locator("time")).to_have_text(re.compile(r"\d{4}.*\d:\d\d"))


def test_axe_finds_no_serious_fault_in_light_dark_and_on_a_phone(
    api: Api, chromium: Browser
) -> None:
    for name, status in (("a", "PROCESSING"), ("b", "COMPLETED"), ("c", "FAILED"), ("d", "")):
        task = api.file_task("echo", name=name)
        if status:
            api.write_log(task, "a line")
            api.write_status(task, "PROCESSING", message="half of it", progress=50)
            api.write_status(task, status, message="said", errorCode="E1" if name == "c" else "")
    session = f"/sessions/{api.session_id}"
    light = {"color_scheme": "light"}
    dark = {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}}
    for options, paths in (
        (light, ("/", session, f"/tasks/{task}")),
        (dark, (session, f"{session}/new")),
    ):
        with Window(chromium, **options) as window:
            for path in paths:
                window.page.goto(api.url + path)
                assert serious_faults(window.page) == [], path
                fits = "document.documentElement.scrollWidth <= innerWidth"
                assert window.page.evaluate(fits), path
