"""Several servers as real processes on one real PostgreSQL, behind a real nginx."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from keruta_agent.server.store.schema import migrations
from tests.helpers.event_streams import event_stream
from tests.helpers.object_server import Bucket
from tests.helpers.page_visitor import form_token
from tests.helpers.postgresql import PostgresqlServer
from tests.helpers.processes import Workplace
from tests.helpers.server_pair import (
    TIMEOUT_S,
    ServerPair,
    call,
    server_pair,
    under_load,
    write_as_an_agent_does,
)
from tests.helpers.waiting import wait_until

#: What a client sees of a server that is killed.
BROKEN_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)

_TOKEN = "the token of both servers"
#: Processes that start at once.
_TOGETHER = 8


@pytest.fixture
def pair(workplace: Workplace, postgresql_url: str) -> Iterator[ServerPair]:
    with server_pair(workplace, postgresql_url) as started:
        yield started


@pytest.fixture
def sharing(workplace: Workplace, postgresql_url: str, bucket: Bucket) -> Iterator[ServerPair]:
    """Two servers that share everything that they can."""
    with server_pair(
        workplace,
        postgresql_url,
        KERUTA_SERVER_TOKEN=_TOKEN,
        KERUTA_SERVER_SECRET_KEY="a key of both servers, for answers to secret questions",
        KERUTA_SERVER_ARTIFACT_STORE=bucket.url(),
        **bucket.environment,
    ) as started:
        yield started


def _task(url: str, **more: str) -> str:
    session = call(url, "POST", "/sessions", {"name": "s"}, **more)["id"]
    task = call(url, "POST", "/tasks", {"sessionId": session, "name": "t"}, **more)["id"]
    call(url, "PUT", f"/tasks/{task}/status", {"status": "PROCESSING"}, **more)
    return str(task)


def test_database_is_migrated_once_however_many_servers_start_together(
    workplace: Workplace, postgresql_url: str, postgresql_server: PostgresqlServer
) -> None:
    started = [
        workplace.start(
            *("server", "--port", "0", "--data", str(workplace.path / f"data-{index}")),
            KERUTA_SERVER_DATABASE_URL=postgresql_url,
        )
        for index in range(_TOGETHER)
    ]
    for process in started:
        process.listening()
    database = postgresql_url.rpartition("/")[2]
    applied = postgresql_server.execute("SELECT name FROM schema_migrations", database)
    assert {step.name for step in migrations.MIGRATIONS} <= {name for (name,) in applied}


def test_write_under_one_key_is_done_once_by_all_servers(pair: ServerPair) -> None:
    session = call(pair.url, "POST", "/sessions", {"name": "s"})["id"]
    body = {"sessionId": session, "name": "once"}
    asked = [url for url in pair.urls for _ in range(4)]
    with ThreadPoolExecutor(len(asked)) as together:
        answers = together.map(lambda url: call(url, "POST", "/tasks", body, key="the-key"), asked)
        assert len({answer["id"] for answer in answers}) == 1
    for url in pair.urls:
        assert len(call(url, "GET", f"/tasks?sessionId={session}")) == 1


def test_events_of_both_servers_reach_a_stream_in_their_order(pair: ServerPair) -> None:
    task = _task(pair.url)
    with event_stream(pair.url) as stream:
        assert next(stream)["event"] == "connected"
        for percent in range(20):
            body = {"progress": percent, "message": "m"}
            call(pair.urls[percent % 2], "PATCH", f"/tasks/{task}/progress", body)
        heard = [next(stream)["data"]["data"]["progress"] for _ in range(20)]
    assert heard == list(range(20))


def test_rolling_restart_fails_no_request(workplace: Workplace, postgresql_url: str) -> None:
    with server_pair(workplace, postgresql_url, KERUTA_SERVER_DRAIN="0.3") as pair:
        task = _task(pair.url)

        def ask(number: int) -> None:
            body = [{"message": str(number)}]
            call(pair.url, "POST", f"/tasks/{task}/logs", body, key=f"line-{number}")
            assert call(pair.url, "GET", f"/tasks/{task}")["status"] == "PROCESSING"

        with under_load(ask):
            for index in (0, 1, 0):
                pair.restart(index)
        lines = [int(line["message"]) for line in _lines(pair.urls[0], task)]
        assert sorted(lines) == list(range(len(lines)))


def test_server_that_drains_is_not_ready_and_still_answers(
    workplace: Workplace, postgresql_url: str
) -> None:
    with server_pair(workplace, postgresql_url, KERUTA_SERVER_DRAIN="60") as pair:
        [url, other], [process, _] = pair.urls, pair.processes
        ready = f"{url}/health/ready"
        assert requests.get(ready, timeout=TIMEOUT_S).json()["message"] == "the server is ready"
        process.signal(signal.SIGTERM)
        wait_until(
            lambda: requests.get(ready, timeout=TIMEOUT_S).status_code == 503, "it is not ready"
        )
        answer = requests.get(ready, timeout=TIMEOUT_S)
        assert answer.json()["message"] == "the server is stopping"
        assert answer.headers["Connection"] == "close"
        assert call(url, "GET", "/sessions") == []
        assert requests.get(f"{other}/health/ready", timeout=TIMEOUT_S).status_code == 200
        # A second one does not wait for the rest of it.
        assert process.stop() == 0


def test_server_is_ready_only_while_its_database_answers(
    pair: ServerPair, postgresql_server: PostgresqlServer
) -> None:
    ready = f"{pair.urls[0]}/health/ready"
    assert requests.get(ready, timeout=TIMEOUT_S).status_code == 200
    postgresql_server.stop()
    try:
        answer = requests.get(ready, timeout=TIMEOUT_S)
        assert answer.status_code == 503
        assert answer.json()["message"].startswith("the database does not answer")
    finally:
        postgresql_server.start()
    wait_until(
        lambda: requests.get(ready, timeout=TIMEOUT_S).status_code == 200, "it is ready again"
    )


def test_kill_of_either_server_loses_and_doubles_no_log_line(pair: ServerPair) -> None:
    task = _task(pair.url)

    def write(number: int) -> None:
        body = [{"message": f"{number} {part}"} for part in range(20)]
        write_as_an_agent_does(pair.url, "POST", f"/tasks/{task}/logs", body)

    with under_load(write):
        for index in (0, 1, 0):
            pair.kill(index)
    lines = [line["message"] for line in _lines(pair.urls[0], task)]
    batches = len(lines) // 20
    assert sorted(lines) == sorted(
        f"{number} {part}" for number in range(batches) for part in range(20)
    )


def test_kill_of_either_server_loses_and_doubles_no_artifact(
    sharing: ServerPair, bucket: Bucket
) -> None:
    task = _task(sharing.url, token=_TOKEN)
    path = f"/tasks/{task}/artifacts"

    def upload(number: int) -> None:
        content = f"{number} ".encode() * 100_000
        stored = write_as_an_agent_does(
            sharing.url,
            "POST",
            path,
            token=_TOKEN,
            files={"file": (f"file-{number}", content)},
            data={"sha256": hashlib.sha256(content).hexdigest()},
        )
        # It is there at once, wherever it is asked for.
        for url in sharing.urls:
            with contextlib.suppress(*BROKEN_OFF):  # one of them is being killed
                assert _content(url, f"{path}/{stored['id']}") == content

    with under_load(upload):
        for index in (0, 1):
            sharing.kill(index)
    found = call(sharing.urls[0], "GET", f"{path}?size=1000", token=_TOKEN)
    names = sorted(artifact["name"] for artifact in found)
    assert names == sorted(f"file-{number}" for number in range(len(names)))
    # What a killed server had stored and not noted is an orphan, which is swept a day later.
    assert {artifact["id"] for artifact in found} <= bucket.artifacts()


def _content(url: str, artifact: str) -> bytes:
    answer = requests.get(
        f"{url}/api/v1{artifact}/content",
        headers={"Authorization": f"Bearer {_TOKEN}"},
        timeout=TIMEOUT_S,
    )
    assert answer.status_code == 200, answer.text
    return answer.content


def test_secret_answer_given_to_one_server_is_taken_at_the_other(sharing: ServerPair) -> None:
    one, other = sharing.urls
    task = _task(one, token=_TOKEN)
    question = {"prompt": "Password:", "secret": True}
    asked = call(one, "POST", f"/tasks/{task}/input-request", question, token=_TOKEN)
    call(other, "POST", f"/tasks/{task}/input", {"input": "open sesame"}, token=_TOKEN)
    taken = call(one, "GET", f"/tasks/{task}/input?requestId={asked['id']}", token=_TOKEN)
    assert taken == {"input": "open sesame\n"}


def test_login_and_forms_of_one_server_hold_at_the_other(sharing: ServerPair) -> None:
    one, other = sharing.urls
    with requests.Session() as browser:
        # Both are one server to a browser, which knows them by the proxy's name.
        browser.headers["Host"] = sharing.url.removeprefix("http://")
        form = {"csrf": form_token(browser.get(f"{one}/login", timeout=TIMEOUT_S).text)}
        entered = browser.post(
            f"{other}/login",
            data={**form, "token": _TOKEN},
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )
        assert entered.status_code == 303
        for url in (one, other, sharing.url):
            form = {"csrf": form_token(browser.get(f"{url}/", timeout=TIMEOUT_S).text)}
            for target in (one, other, sharing.url):
                made = browser.post(
                    f"{target}/sessions",
                    data={**form, "name": "made by a form"},
                    timeout=TIMEOUT_S,
                    allow_redirects=False,
                )
                assert made.status_code == 303
    assert len(call(one, "GET", "/sessions", token=_TOKEN)) == 9


def _lines(url: str, task: str) -> list[dict[str, str]]:
    """Return all lines of a task, page by page."""
    found: list[dict[str, str]] = []
    for page in itertools.count():
        lines = call(url, "GET", f"/tasks/{task}/logs?page={page}&size=1000")
        found += lines
        if len(lines) < 1000:
            return found
    raise AssertionError
