"""A task's page and its artifacts as a browser without scripts gets them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from keruta_agent.core.coding import log_groups
from keruta_agent.core.coding.model import Verification
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.asgi_client import Client
from tests.helpers.page_visitor import form_token

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def browser(store: Store) -> Client:
    return Client(create_application(store))


@pytest.fixture
def task(browser: Client) -> str:
    session = browser.post("/api/v1/sessions", json={"name": str(uuid.uuid4())}).json()["id"]
    body = {"sessionId": session, "name": "a task", "script": "true"}
    return str(browser.post("/api/v1/tasks", json=body).json()["id"])


def _set_status(browser: Client, task: str, status: str) -> None:
    answer = browser.request("PUT", f"/api/v1/tasks/{task}/status", json={"status": status})
    assert answer.status_code == 200


def _ask(browser: Client, task: str, **more: Any) -> str:
    _set_status(browser, task, "PROCESSING")
    asked = browser.post(f"/api/v1/tasks/{task}/input-request", json={"prompt": "Who?", **more})
    return str(asked.json()["id"])


def _answer(browser: Client, task: str, question: str, text: str) -> int:
    token = form_token(browser.get(f"/tasks/{task}").text)
    form = {"csrf": token, "question": question, "answer": text}
    return browser.post(f"/tasks/{task}/answer", data=form).status_code


def _store(browser: Client, task: str, content: bytes, name: str, kind: str) -> str:
    files = {"file": (name, content, kind)}
    return str(browser.post(f"/api/v1/tasks/{task}/artifacts", files=files).json()["id"])


def test_answer_reaches_the_script_with_its_line_end(browser: Client, task: str) -> None:
    question = _ask(browser, task)
    assert _answer(browser, task, question, "世界\0") == 303
    assert browser.get(f"/api/v1/tasks/{task}/input").json() == {"input": "世界\ufffd\n"}
    assert "Who?" not in browser.get(f"/tasks/{task}").text


def test_answer_to_an_older_question_is_refused(browser: Client, task: str) -> None:
    old = _ask(browser, task)
    browser.post(f"/api/v1/tasks/{task}/input-request", json={"prompt": "Sure?"})
    assert _answer(browser, task, old, "yes") == 409
    assert browser.get(f"/api/v1/tasks/{task}/input").status_code == 204


def test_answer_without_the_token_of_the_form_is_refused(browser: Client, task: str) -> None:
    question = _ask(browser, task)
    form = {"question": question, "answer": "x"}
    assert browser.post(f"/tasks/{task}/answer", data=form).status_code == 403


def test_what_a_secret_question_hears_is_masked(browser: Client, task: str) -> None:
    _ask(browser, task, secret=True)
    assert 'name="answer" type="password"' in browser.get(f"/tasks/{task}").text


def test_change_of_a_coding_task_is_coloured(browser: Client, task: str) -> None:
    lines = ["::group::diff", "@@ -1 +1 @@", "-old", "+<b>new</b>", "::endgroup::"]
    metadata = {"keruta": {"group": "diff"}}
    entries = [{"level": "INFO", "message": line, "metadata": metadata} for line in lines]
    browser.post(f"/api/v1/tasks/{task}/logs", json=entries)
    for status in ("PROCESSING", "COMPLETED"):
        _set_status(browser, task, status)
    page = browser.get(f"/tasks/{task}").text
    assert '<span class="diff-removed">-old' in page
    assert '<span class="diff-added">+&lt;b&gt;new&lt;/b&gt;' in page


@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ["These tests decided:", "Taken back before the tests ran", "Flaky"]),
        ("ja", ["判定に使われたテスト:", "テスト実行前に取り消された変更", "不安定なテスト"]),
    ],
)
def test_what_the_runner_says_of_its_tests_is_shown(
    browser: Client, task: str, language: str, texts: list[str]
) -> None:
    account = Verification(
        status="tested", basis="pytest: 2 passed", reverted=["<b>a.py</b>"], flaky=["t.py::test"]
    )
    _tell(browser, task, Verification(status="untested", basis="of an earlier run"))
    _tell(browser, task, account)
    for status in ("PROCESSING", "COMPLETED"):
        _set_status(browser, task, status)

    page = browser.get(f"/tasks/{task}", headers={"Accept-Language": language}).text

    for text in (*texts, "pytest: 2 passed", "&lt;b&gt;a.py&lt;/b&gt;", "t.py::test"):
        assert text in page
    assert "UNTESTED" not in page


def _tell(browser: Client, task: str, account: Verification) -> None:
    lines = ["::group::verification", *log_groups.lines_of(account), "::endgroup::"]
    metadata = {"keruta": {"group": "verification"}}
    entries = [{"level": "INFO", "message": line, "metadata": metadata} for line in lines]
    browser.post(f"/api/v1/tasks/{task}/logs", json=entries)


def test_untested_change_is_marked_and_a_script_without_an_account_says_nothing(
    browser: Client, task: str
) -> None:
    for status in ("PROCESSING", "COMPLETED"):
        _set_status(browser, task, status)
    assert "Tests of the change" not in browser.get(f"/tasks/{task}").text
    _tell(browser, task, Verification(status="untested", basis="no test commands"))
    assert "UNTESTED</strong>" in browser.get(f"/tasks/{task}").text


def test_board_shows_the_end_of_a_log_without_colours(browser: Client, task: str) -> None:
    _set_status(browser, task, "PROCESSING")
    entry = {"level": "INFO", "message": "\x1b[32mok\x1b[0m all \x1b]8;;x\x07good"}
    browser.post(f"/api/v1/tasks/{task}/logs", json=entry)
    session = browser.get(f"/api/v1/tasks/{task}").json()["sessionId"]
    assert "ok all good" in browser.get(f"/sessions/{session}").text


def test_steps_tell_progress_and_states_in_their_order(browser: Client, task: str) -> None:
    _set_status(browser, task, "PROCESSING")
    for percent in (20, 60):
        progress = {"progress": percent, "message": f"step {percent}"}
        browser.request("PATCH", f"/api/v1/tasks/{task}/progress", json=progress)
    steps = browser.get(f"/tasks/{task}").text.partition('class="steps"')[2]
    assert 0 < steps.index("step 20") < steps.index("step 60")


@pytest.mark.parametrize(
    ("content", "name", "claimed"),
    [
        (b"<script>alert(1)</script>", "x.html", "text/html"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "x.svg", "image/svg+xml"),
        (b"<script>alert(1)</script>", "x.png", "image/png"),
        (b"alert(1)", "x.js", "text/javascript"),
        (b"\x7fELF\0", "x.pdf", "application/pdf"),
    ],
)
def test_what_a_browser_could_run_is_only_saved(
    browser: Client, task: str, content: bytes, name: str, claimed: str
) -> None:
    artifact = _store(browser, task, content, name, claimed)
    answer = browser.get(f"/tasks/{task}/artifacts/{artifact}/content")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].endswith("sandbox")
    page = browser.get(f"/tasks/{task}/artifacts/{artifact}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "<img" not in page.text


def test_image_is_shown_by_what_its_bytes_are(browser: Client, task: str) -> None:
    artifact = _store(browser, task, PNG, "x.txt", "text/plain")
    answer = browser.get(f"/tasks/{task}/artifacts/{artifact}/content")
    assert answer.headers["Content-Type"] == "image/png"
    assert "attachment" not in answer.headers["Content-Disposition"]
    assert '<img class="preview"' in browser.get(f"/tasks/{task}/artifacts/{artifact}").text


def test_file_is_not_shown_under_another_name_than_its_own(browser: Client, task: str) -> None:
    artifact = _store(browser, task, b"MZ\0", "report\u202efdp.exe", "application/pdf")
    for path in (f"/tasks/{task}", f"/tasks/{task}/artifacts/{artifact}"):
        page = browser.get(path).text
        assert "report⟨U+202E⟩fdp.exe" in page
        assert "\u202e" not in page


def test_artifact_of_another_task_is_not_found(browser: Client, task: str) -> None:
    assert browser.get(f"/tasks/{task}/artifacts/{uuid.uuid4()}").status_code == 404
    assert browser.get(f"/tasks/{task}/artifacts/{uuid.uuid4()}/content").status_code == 404


def test_claim_of_a_waiting_task_is_shown_and_released_by_a_person(
    browser: Client, task: str
) -> None:
    draft = {"agent": "a1", "instance": "here", "run": "r1"}
    assert browser.post(f"/api/v1/tasks/{task}/claim", json=draft).status_code == 200
    page = browser.get(f"/tasks/{task}").text
    assert "the agent a1 since" in page
    form = {"csrf": form_token(page)}

    asked = browser.post(f"/tasks/{task}/release", data=form)
    assert "gone for good" in asked.text
    assert browser.get(f"/api/v1/tasks/{task}/claim").status_code == 200
    done = browser.post(f"/tasks/{task}/release", data={**form, "confirmed": "yes"})

    assert done.status_code == 303
    assert browser.get(f"/api/v1/tasks/{task}/claim").status_code == 404
    assert "release" not in browser.get(f"/tasks/{task}").text


def test_claim_of_a_task_that_was_begun_is_shown_and_not_released(
    browser: Client, task: str
) -> None:
    draft = {"agent": "a1", "instance": "here", "run": "r1"}
    browser.post(f"/api/v1/tasks/{task}/claim", json=draft)
    _set_status(browser, task, "PROCESSING")

    page = browser.get(f"/tasks/{task}").text

    assert "the agent a1 since" in page
    assert "/release" not in page
