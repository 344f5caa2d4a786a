"""Logs over HTTP: pages without gap or repetition, and nothing secret in them."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from keruta_agent.agent.control.http import logs
from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Work
from tests.helpers.agent_http import AgentCaller

TALK = (
    "echo 一; echo two >&2; keruta log ERROR broken --field at=3; for i in 1 2 3; do echo $i; done"
)


def _ran(agent: Agent, script: str, **environment: str) -> int:
    job = agent.records.jobs.record_script("writes", Work(script=script, environment=environment))
    run.run_next(agent)
    return job


def _lines(http: AgentCaller, path: str) -> list[dict[str, Any]]:
    response = http.call("GET", path)
    assert response.status_code == 200, response.text
    assert response.content_type == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_pages_make_the_whole_log_without_gap_or_repetition(
    agent: Agent, http: AgentCaller
) -> None:
    job = _ran(agent, TALK)
    whole = _lines(http, f"/jobs/{job}/logs")
    assert sorted(line["message"] for line in whole) == ["1", "2", "3", "broken", "two", "一"]

    pages, after = [], ""
    while page := _lines(http, f"/jobs/{job}/logs?limit=1{after}"):
        assert len(page) == 1
        pages += page
        after = f"&after={page[-1]['position']}"
    assert pages == whole


def test_lines_have_level_stream_and_fields(agent: Agent, http: AgentCaller) -> None:
    job = _ran(agent, TALK)
    (told,) = _lines(http, f"/jobs/{job}/logs?stream=agent")
    assert (told["level"], told["source"], told["metadata"]) == ("ERROR", "agent", {"at": "3"})
    (error,) = _lines(http, f"/jobs/{job}/logs?stream=stderr")
    assert (error["message"], error["level"], error["run"]) == ("two", "WARN", 1)
    assert error["timestamp"].endswith("Z")


def test_who_accepts_only_text_gets_text_and_the_position(agent: Agent, http: AgentCaller) -> None:
    job = _ran(agent, "echo 一; echo two")
    text = {"Accept": "text/plain"}

    page = http.call("GET", f"/jobs/{job}/logs?limit=1", headers=text)
    rest = http.call(
        "GET", f"/jobs/{job}/logs?after={page.headers['Keruta-Position']}", headers=text
    )

    assert page.content_type == "text/plain; charset=utf-8"
    assert [page.text, rest.text] == ["一\n", "two\n"]


def test_lines_keep_their_colours_for_who_asks_for_them(agent: Agent, http: AgentCaller) -> None:
    job = _ran(agent, r"printf '\033[32mok\033[0m\n'")
    assert [line["message"] for line in _lines(http, f"/jobs/{job}/logs")] == ["ok"]
    coloured = _lines(http, f"/jobs/{job}/logs?colours=true")
    assert [line["message"] for line in coloured] == ["\x1b[32mok\x1b[0m"]


@pytest.mark.parametrize("query", ["", "?colours=true"])
def test_secrets_leave_no_log(agent: Agent, http: AgentCaller, query: str) -> None:
    script = (
        "echo pass $DB_PASSWORD; echo $DB_PASSWORD | base64; keruta log INFO $DB_PASSWORD;"
        r" printf '%s\033[31m%s\033[0m\n' ${DB_PASSWORD:0:6} ${DB_PASSWORD:6}"
    )
    job = _ran(agent, script, DB_PASSWORD="geheim-wie-nie-zuvor")
    text = http.call("GET", f"/jobs/{job}/logs{query}").text
    assert text.count("***") >= 4
    assert "geheim" not in text and "Z2VoZWltLXdpZ" not in text


def test_long_log_comes_in_answers_of_a_bounded_size(
    agent: Agent, http: AgentCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_CHARACTERS", 1000)
    job = _ran(agent, "for i in 1 2 3 4 5; do head -c 600 /dev/zero | tr '\\0' $i; echo; done")
    found, after = [], ""
    while page := _lines(http, f"/jobs/{job}/logs{after}"):
        assert len(page) <= 2
        found += [line["message"][0] for line in page]
        after = f"?after={page[-1]['position']}"
    assert found == ["1", "2", "3", "4", "5"]


def test_fields_of_lines_count_in_the_size_of_an_answer(
    agent: Agent, http: AgentCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_CHARACTERS", 1000)
    line = json.dumps({"message": "m", "level": "info", "field": "x" * 600})
    job = _ran(agent, f"for i in 1 2 3 4 5; do echo '{line}'; done")
    assert len(_lines(http, f"/jobs/{job}/logs")) == 2


def test_log_of_another_run_is_chosen_by_its_number(agent: Agent, http: AgentCaller) -> None:
    job = _ran(agent, "echo one")
    with agent.records.database.transaction() as connection:
        connection.execute("UPDATE jobs SET state = 'waiting' WHERE id = ?", (job,))
    run.run_next(agent)
    assert [line["run"] for line in _lines(http, f"/jobs/{job}/logs")] == [1, 2]
    assert [line["run"] for line in _lines(http, f"/jobs/{job}/logs?run=2")] == [2]
    assert [line["run"] for line in _lines(http, f"/jobs/{job}/logs?after=1.99.0")] == [2]
    assert _lines(http, f"/jobs/{job}/logs?run=3") == []


def test_log_whose_files_are_gone_is_empty(agent: Agent, http: AgentCaller) -> None:
    job = _ran(agent, "echo one")
    shutil.rmtree(agent.directory_of(agent.records.runs.of_job(job)[0]).path)
    assert _lines(http, f"/jobs/{job}/logs") == []


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=1.2", "after=1.2.3.4", "after=1.2.%EF%BC%93", "limit=0", "limit=10001",
     "limit=1e3", "stream=stdin", "run=0", f"run={2**40}", f"after=1.{'9' * 30}.1"],
)  # fmt: skip
def test_nonsense_is_refused_by_the_name_of_the_field(refusing: AgentCaller, query: str) -> None:
    error = refusing.send("GET", f"/jobs/1/logs?{query}", status=400)["error"]
    assert error["field"] == query.partition("=")[0]
