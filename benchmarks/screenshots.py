"""Makes the pictures of README: real pages of a real server and daemon, in Debian's chromium.

``python -m benchmarks.screenshots [DIRECTORY]`` writes them to ``etc/screenshots``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import requests
from playwright.sync_api import Browser, Page, sync_playwright

from tests.helpers.api import Api
from tests.helpers.browsing import CHROMIUM, FLAGS
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import Workplace, free_port, workplace_in

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-for-the-pictures-of-the-readme"
#: Bytes of one picture.
LARGEST = 300_000
DESK = {"width": 1120, "height": 860}
PHONE = {"width": 390, "height": 800}

_BUILD = r"""
echo '::group::install'; for p in flask peewee huey; do echo "installed $p"; done; echo ::endgroup::
keruta progress 20 --message 'compiles'
echo '::group::compile'
for n in $(seq 1 12); do printf '\033[32mok\033[0m   module_%02d.c\n' $n; done
printf '\033[33mwarning:\033[0m unused variable in module_07.c\n' >&2; echo ::endgroup::
keruta progress 45 --message 'runs the tests'
echo '::group::test'
for n in $(seq 1 9); do printf 'test_%d \033[32mPASSED\033[0m\n' $n; sleep 0.4; done
printf 'test_10 \033[31;1mslow\033[0m\n' >&2
keruta progress 70 --message '9 of 12 tests'
until [ -e "$HOME/go" ]; do sleep 0.2; done
"""
_ASKS = "echo 'The release is built.'; printf 'Deploy it to which region? '; read -r region; echo"


def main(directory: Path) -> None:
    """Write all pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        workplace_in(Path(place)) as workplace,
        embedded_server(workplace.path / "server") as server,
        sync_playwright() as playwright,
    ):
        api = Api(server.url)
        made = requests.post(f"{api.url}/api/v1/sessions", json={"name": "web shop"}, timeout=30)
        api.session_id = made.json()["id"]
        workplace.environment["KERUTA_API_URL"] = api.url
        workplace.environment["KERUTA_SESSION_ID"] = api.session_id
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            _take_all(browser, workplace, api, directory)
        finally:
            browser.close()
    for file in sorted(directory.glob("*.png")):
        size = file.stat().st_size
        print(f"{file.name:28} {size:8,} bytes")
        if size > LARGEST:
            sys.exit(f"{file} is larger than {LARGEST:,} bytes")


def _take_all(browser: Browser, workplace: Workplace, api: Api, directory: Path) -> None:
    port = free_port()
    broken = (ROOT / "tasks/fail-and-be-fixed.sh").read_text(encoding="utf-8")
    failed = api.file_task(broken, name="check service.conf", priority=9)
    api.file_task("echo linted", name="lint", priority=8)
    build = api.file_task(_BUILD, name="build and test", priority=5)
    asks = api.file_task(_ASKS, name="deploy", priority=3)
    api.file_task("true", name="報告書を作る", priority=1)
    workplace.daemon(
        KERUTA_LOG_ANSI="keep",
        KERUTA_USE_HTTP_INPUT="true",
        KERUTA_RETRY_COUNT="0",
        KERUTA_AUTO_FIX_ENABLED="true",
        KERUTA_DAEMON_PORT=str(port),
        KERUTA_DAEMON_TOKEN=TOKEN,
    )
    api.wait_for(build, "PROCESSING")
    board, task = f"{api.url}/sessions/{api.session_id}", f"{api.url}/tasks/{build}"
    with browser.new_context(viewport=DESK, locale="en-GB") as context:
        page = context.new_page()
        page.goto(task)
        page.locator("pre:not(.script), .log-row").filter(has_text="test_10").first.wait_for()
        page.locator(".steps").filter(has_text="9 of 12 tests").wait_for()
        _take(page, directory / "task.png")
        _show(page, board)
        _take(page, directory / "board.png")
        page.goto(f"http://127.0.0.1:{port}/")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.locator("pre:not(.script), .log-row").filter(has_text="test_10").first.wait_for()
        _take(page, directory / "agent.png")
    with browser.new_context(viewport=DESK, locale="en-GB", color_scheme="dark") as context:
        page = context.new_page()
        _show(page, board)
        _take(page, directory / "dark.png")
    with browser.new_context(viewport=PHONE, locale="ja-JP", device_scale_factor=1.5) as context:
        page = context.new_page()
        _show(page, board)
        _take(page, directory / "phone.png")
    (Path(workplace.environment["HOME"]) / "go").touch()
    api.wait_for_question(asks)
    with browser.new_context(viewport=DESK, locale="en-GB") as context:
        page = context.new_page()
        page.goto(f"{api.url}/tasks/{asks}")
        page.locator("#answer").fill("ap-northeast-1")
        page.get_by_text("The release is built.", exact=True).wait_for()
        _take(page, directory / "prompt.png")
        api.wait_for_all([failed, *api.fixes(failed)])
        page.set_viewport_size({"width": 1120, "height": 900})
        page.goto(f"{api.url}/tasks/{failed}")
        page.locator(".lineage").wait_for()
        _take(page, directory / "auto-fix.png")


def _show(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("pre:not(.script), .log-row").filter(has_text="test_10").first.wait_for()


def _take(page: Page, file: Path) -> None:
    page.locator("#live[data-state=live]").wait_for()
    page.screenshot(path=file)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "etc/screenshots")
