"""Answers to secret questions that several servers on one PostgreSQL share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core import errors
from keruta_agent.server.application import create_application
from keruta_agent.server.store import secret_answers
from keruta_agent.server.store.secret_answers import open_answers
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.postgresql import PostgresqlServer
from tests.helpers.waiting import wait_until

KEY = "one key of all servers, of more than 32 characters"
OTHER_KEY = "another key, which has just as many characters"
PASSWORD = "correct horse"
_SECOND_US = 1_000_000

Starts = Callable[..., ApiCaller]
Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def sql(postgresql_server: PostgresqlServer, postgresql_url: str) -> Sql:
    database = postgresql_url.rpartition("/")[2]
    return lambda statement: postgresql_server.execute(statement, database)


@pytest.fixture
def server(tmp_path: Path, postgresql_url: str) -> Iterator[Starts]:
    """Start servers, each with a key."""
    with contextlib.ExitStack() as opened:

        def start(key: str | None = KEY) -> ApiCaller:
            number = len(list(tmp_path.iterdir()))
            store = opened.enter_context(
                contextlib.closing(Store.open(tmp_path / f"server-{number}", postgresql_url))
            )
            store.secret_answers = opened.enter_context(
                contextlib.closing(open_answers(store.database, key))
            )
            return ApiCaller(create_application(store))

        yield start


def _asked(api: ApiCaller) -> tuple[str, str]:
    """Have a script ask for a secret; return the task and the question."""
    task = api.task()["id"]
    api.move(task, "PROCESSING")
    body = {"prompt": "Password:", "secret": True}
    question = api.send("POST", f"/tasks/{task}/input-request", body, status=201)["id"]
    return task, question


def _answered(api: ApiCaller) -> tuple[str, str]:
    task, question = _asked(api)
    api.send("POST", f"/tasks/{task}/input", {"input": PASSWORD})
    return task, question


def _taken(api: ApiCaller, task: str, query: str = "") -> Any:
    return api.call("GET", f"/tasks/{task}/input{query}")


def test_secret_answer_that_one_server_was_given_is_taken_at_another(
    server: Starts, sql: Sql
) -> None:
    one, other = server(), server()
    task, _ = _answered(one)
    stored = repr(sql("SELECT * FROM secret_answers") + sql("SELECT * FROM input_requests"))
    assert PASSWORD not in stored
    assert _taken(other, task).json() == {"input": f"{PASSWORD}\n"}
    assert sql("SELECT * FROM secret_answers") == []
    assert _taken(one, task).status_code == 204


def test_secret_answer_can_be_taken_again_until_the_script_goes_on(
    server: Starts, sql: Sql
) -> None:
    one, other = server(), server()
    task, question = _answered(one)
    for api in (one, other, one):
        assert _taken(api, task, f"?requestId={question}").json() == {"input": f"{PASSWORD}\n"}
    other.move(task, "COMPLETED")
    assert sql("SELECT * FROM secret_answers") == []


def test_same_answer_is_never_sealed_alike(server: Starts, sql: Sql) -> None:
    api = server()
    for _ in range(2):
        _answered(api)
    [[first], [second]] = sql("SELECT sealed FROM secret_answers")
    assert first != second


def test_secret_answer_is_gone_after_a_minute(
    server: Starts, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = server()
    task, _ = _answered(api)
    past = (secret_answers.KEPT_S + 1) * _SECOND_US
    sql(f"UPDATE secret_answers SET created_at = created_at - {past}")
    assert _taken(api, task).status_code == 204
    assert api.get(f"/tasks/{task}/input-request")["open"] is True
    # Any server removes it, one that was not there when it came, too.
    monkeypatch.setattr(secret_answers, "SWEEP_INTERVAL_S", 0.05)
    server()
    wait_until(lambda: sql("SELECT * FROM secret_answers") == [], "the row is gone")


def test_sealed_answer_opens_at_its_own_question_only(server: Starts, sql: Sql) -> None:
    api = server()
    task, _ = _answered(api)
    stranger, question = _asked(api)
    sql(
        "UPDATE secret_answers SET question = "
        f"{question}, task = (SELECT number FROM tasks WHERE id = '{stranger}')"
    )
    assert _taken(api, task).status_code == 204
    answer = _taken(api, stranger)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SECRET_KEY_DIFFERS")


def test_answer_that_another_key_has_sealed_is_an_error_and_not_lost(
    server: Starts, sql: Sql
) -> None:
    api = server()
    task, _ = _answered(api)
    sql("UPDATE secret_answers SET key = 'another'")
    answer = _taken(api, task)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SECRET_KEY_DIFFERS")
    assert len(sql("SELECT * FROM secret_answers")) == 1


@pytest.mark.parametrize("key", [OTHER_KEY, None])
def test_server_without_the_key_of_those_that_run_does_not_start(
    server: Starts, sql: Sql, key: str | None
) -> None:
    server(KEY)
    with pytest.raises(errors.AgentStateError, match="secret key"):
        server(key)
    server(KEY)
    assert len(sql("SELECT * FROM server_keys")) == 2


def test_key_may_change_when_no_other_server_runs(
    tmp_path: Path, postgresql_url: str, server: Starts, sql: Sql
) -> None:
    with contextlib.closing(Store.open(tmp_path / "first", postgresql_url)) as store:
        open_answers(store.database, KEY).close()
        # One that was killed counts for a minute.
        open_answers(store.database, OTHER_KEY).close()
        sql("INSERT INTO server_keys VALUES ('killed', 'key', 0)")
        server(KEY)


def test_without_a_key_answers_stay_in_one_process_and_the_log_says_so(
    server: Starts, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        one, other = server(None), server(None)
    assert "do not reach scripts that ask another server" in caplog.text
    task, _ = _answered(one)
    assert _taken(other, task).status_code == 204
    assert _taken(one, task).json() == {"input": f"{PASSWORD}\n"}


def test_server_that_was_given_no_key_says_so_of_an_answer_that_was_sealed(
    server: Starts,
) -> None:
    keyless, sealing = server(None), server(KEY)
    task, _ = _answered(sealing)
    answer = _taken(keyless, task)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SECRET_KEY_DIFFERS")


def test_key_that_can_be_guessed_is_refused(postgresql_url: str, tmp_path: Path) -> None:
    with (
        contextlib.closing(Store.open(tmp_path, postgresql_url)) as store,
        pytest.raises(errors.SettingsError, match="less than 32 characters"),
    ):
        open_answers(store.database, "hunter2")
