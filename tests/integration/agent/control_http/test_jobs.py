"""Jobs over HTTP: what is told of them, and what may be done about them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Jobs, JobState, StopKind, Work
from keruta_agent.cli import main
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agent_http import AgentCaller
from tests.helpers.agents import SESSION


def _record_task(agent: Agent, api: InMemoryKerutaApi, script: str = "true") -> str:
    task = api.add_task(SESSION, script, name="作業")
    agent.records.jobs.record_task(task)
    return str(task.id)


def test_job_is_queued_as_it_was_sent(agent: Agent, http: AgentCaller) -> None:
    draft = {
        "name": "日本",
        "script": "#!/bin/sh\necho $X\n",
        "priority": 3,
        "directory": "/tmp",
        "environment": {"X": "値"},
    }
    job = agent.records.jobs.get(http.send("POST", "/jobs", draft, status=201)["job"])
    assert job is not None
    assert (job.name, job.priority) == ("日本", 3)
    assert job.work == Work(
        script=draft["script"], directory="/tmp", environment={"X": "値"}, command=()
    )
    assert agent.queue.wakes == 1


@pytest.mark.parametrize(
    ("draft", "name"),
    [
        ({"script": "#!/bin/sh\n\n  echo hi\n"}, "echo hi"),
        ({"command": ["make", "test"]}, "make test"),
        ({"script": "#!/bin/sh\n"}, "script"),
    ],
)
def test_job_without_a_name_gets_one(
    agent: Agent, http: AgentCaller, draft: dict[str, Any], name: str
) -> None:
    job = agent.records.jobs.get(http.send("POST", "/jobs", draft, status=201)["job"])
    assert job is not None
    assert job.name == name


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ({}, "script"),
        ({"script": " \n"}, "script"),
        ({"script": 5}, "script"),
        ({"script": "x\0"}, "script"),
        ({"script": "\ud800"}, "script"),
        ({"script": "x", "command": ["x"]}, "script"),
        ({"command": []}, "command"),
        ({"command": [""]}, "command"),
        ({"command": "x"}, "command"),
        ({"command": ["x", 5]}, "command.1"),
        ({"script": "x", "name": ""}, "name"),
        ({"script": "x", "name": "\0"}, "name"),
        ({"script": "x", "priority": 2**31}, "priority"),
        ({"script": "x", "priority": "high"}, "priority"),
        ({"script": "x", "directory": "relative"}, "directory"),
        ({"script": "x", "environment": {"": "y"}}, "environment"),
        ({"script": "x", "environment": {"A=B": "y"}}, "environment"),
        ({"script": "x", "environment": {"A": "\0"}}, "environment"),
        ({"script": "x", "environment": {"A": 5}}, "environment"),
    ],
)
def test_nonsense_is_refused_by_the_name_of_the_field(
    refusing: AgentCaller, draft: dict[str, Any], field: str
) -> None:
    error = refusing.send("POST", "/jobs", draft, status=400)["error"]
    assert error["field"].startswith(field)


def test_jobs_are_listed_by_state_and_number(agent: Agent, http: AgentCaller) -> None:
    for name in ("a", "b", "c"):
        agent.records.jobs.record_script(name, Work(script="true"))
    agent.records.jobs.request_stop(1, StopKind.CANCELLED, "x")

    assert [job["name"] for job in http.get("/jobs")] == ["b", "c", "a"]
    assert [job["name"] for job in http.get("/jobs?state=waiting&limit=1")] == ["b"]
    assert [job["outcome"] for job in http.get("/jobs?state=finished")] == ["cancelled"]
    for query in ("state=lost", "limit=0", "limit=x", "limit=99999"):
        error = http.send("GET", f"/jobs?{query}", status=400)["error"]
        assert error["field"] == query.partition("=")[0]


def test_job_is_shown_with_runs_and_without_what_might_be_secret(
    agent: Agent, http: AgentCaller, api: InMemoryKerutaApi
) -> None:
    work = Work(
        script="echo $DB_PASSWORD >&2; mkdir -p $KERUTA_ARTIFACTS_DIR; "
        "echo x > $KERUTA_ARTIFACTS_DIR/報告.txt; exit 7",
        environment={"DB_PASSWORD": "geheim-wie-nie"},
    )
    job = agent.records.jobs.record_script("password=geheim-wie-nie", work)
    run.run_next(agent)

    shown = http.get(f"/jobs/{job}")

    assert (shown["runs"][0]["outcome"], shown["runs"][0]["exit_code"]) == ("failed", 7)
    assert [artifact["path"] for artifact in shown["artifacts"]] == ["報告.txt"]
    assert shown["runs"][0]["usage"]["wall_s"] >= 0
    assert "geheim" not in str(shown) and "token" not in str(shown)
    assert "work" not in shown
    assert "geheim" not in str(http.get("/jobs"))


def test_task_is_found_by_its_id(agent: Agent, http: AgentCaller, api: InMemoryKerutaApi) -> None:
    task = _record_task(agent, api)
    assert http.get(f"/jobs/{task}")["id"] == http.get("/jobs/1")["id"] == 1


@pytest.mark.parametrize("job", ["2", "0", "-1", "9" * 30, "x", "%00", "%ff", "..%2f", "１"])
def test_job_that_is_not_there_is_404(refusing: AgentCaller, job: str) -> None:
    for path in ("", "/logs", "/events", "/input"):
        assert refusing.send("GET", f"/jobs/{job}{path}", status=404)["error"]["message"]
    for path, body in (("/cancel", None), ("/retry", None), ("/input", {"text": "x"})):
        assert refusing.send("POST", f"/jobs/{job}{path}", body, status=404)["error"]["message"]
    assert refusing.send("PUT", f"/jobs/{job}/priority", {"priority": 1}, status=404)["error"]


def test_waiting_task_is_cancelled_and_its_end_is_queued(
    agent: Agent, http: AgentCaller, api: InMemoryKerutaApi
) -> None:
    task = _record_task(agent, api)
    assert http.send("POST", f"/jobs/{task}/cancel")["was"] == "waiting"
    assert http.get("/jobs/1")["outcome"] == "cancelled"
    assert http.get("/jobs/1")["unsent"] == 1
    assert http.send("POST", f"/jobs/{task}/cancel")["was"] == "finished"


def test_job_is_moved_while_it_waits(agent: Agent, http: AgentCaller) -> None:
    for name in ("a", "b"):
        agent.records.jobs.record_script(name, Work(script="true"))
    moved = http.send("PUT", "/jobs/2/priority", {"priority": 9})
    assert moved == {"job": 2, "priority": 9, "place": 1}
    agent.records.jobs.request_stop(2, StopKind.CANCELLED, "x")
    assert (
        "cancelled"
        in http.send("PUT", "/jobs/2/priority", {"priority": 1}, status=409)["error"]["message"]
    )
    assert http.send("PUT", "/jobs/1/priority", {}, status=400)["error"]["field"] == "priority"


def test_ended_job_is_tried_again_as_a_new_one(
    agent: Agent, http: AgentCaller, api: InMemoryKerutaApi
) -> None:
    agent.records.jobs.record_script("a", Work(script="true"))
    assert http.send("POST", "/jobs/1/retry", status=409)["error"]["code"] == "WRONG_STATE"
    run.run_next(agent)
    assert http.send("POST", "/jobs/1/retry", status=201) == {"job": 2, "task": None}

    task = _record_task(agent, api, "echo again")
    agent.records.jobs.request_stop(3, StopKind.CANCELLED, "x")
    new = http.send("POST", f"/jobs/{task}/retry", status=201)["task"]
    assert api.task(new).parameters["retryOf"] == task


def test_pause_and_resume_are_shown_and_kept(agent: Agent, http: AgentCaller) -> None:
    assert http.send("POST", "/pause", {"reason": "昼"}) == {"paused": "昼", "running": 0}
    assert agent.records.jobs.pause_reason() == http.get("/status")["paused"] == "昼"
    assert http.send("POST", "/pause")["paused"] == "A person paused it"
    polls = agent.queue.polls
    assert http.send("POST", "/resume")["paused"] is None
    assert agent.queue.polls == polls + 1


def test_status_shows_what_runs_and_what_waits(agent: Agent, http: AgentCaller) -> None:
    for name in ("a", "b"):
        agent.records.jobs.record_script(name, Work(script="true"))
    claimed = agent.records.runs.claim_next()
    assert claimed is not None
    agent.records.runs.report_progress(*claimed, 40, "almost")

    status = http.get("/status")

    assert (status["running"], status["current"]["name"]) == (1, "a")
    assert (status["current"]["progress"], status["current"]["progress_message"]) == (40, "almost")
    assert status["jobs"]["waiting"] == 1
    assert status["outbox"] == {"pending": 0, "parked": 0, "oldest_s": None}
    assert status["questions"] == []


def test_place_in_the_order_cannot_be_given_to_a_job_that_began_meanwhile(agent: Agent) -> None:
    jobs: Jobs = agent.records.jobs
    job = jobs.record_script("a", Work(script="true"))
    agent.records.runs.claim_next()
    assert not jobs.set_priority(job, 5)
    found = jobs.get(job)
    assert found is not None
    assert (found.priority, found.state) == (0, JobState.RUNNING)


def test_script_that_asks_is_answered_over_http(agent: Agent, http: AgentCaller) -> None:
    agent.records.jobs.record_script("asks", Work(script="true"))
    claimed = agent.records.runs.claim_next()
    assert claimed is not None
    assert http.call("GET", "/jobs/1/input").status_code == 204
    refused = http.send("POST", "/jobs/1/input", {"text": "yes"}, status=409)
    assert refused["error"]["code"] == "NOTHING_ASKED"

    agent.records.questions.ask(*claimed, prompt="Go on? ", secret=False, pid=1, sleeps=None)

    asked = http.get("/jobs/1/input")
    assert (asked["prompt"], asked["number"], asked["secret"]) == ("Go on? ", 1, False)
    assert http.get("/input") == http.get("/status")["questions"] == [asked]
    refused = http.send("POST", "/jobs/1/input", {"text": "yes", "number": 2}, status=409)
    assert refused["error"]["code"] == "NOTHING_ASKED"
    for body in ({}, {"text": "a", "input": "b"}, {"text": 5}, {"text": "\0"}):
        assert http.send("POST", "/jobs/1/input", body, status=400)["error"]["field"] == "text"


@pytest.mark.parametrize(
    ("path", "draft"),
    [
        ("/jobs", {"script": "true", "prio": 5}),
        ("/jobs/1/priority", {"priority": 1, "prio": 5}),
        ("/jobs/1/input", {"text": "yes", "prio": 5}),
        ("/coding-tasks", {"task": {}, "prio": 5}),
        ("/pause", {"prio": 5}),
    ],
)
def test_field_that_a_request_lacks_is_named(
    agent: Agent, http: AgentCaller, path: str, draft: dict[str, Any]
) -> None:
    method = "PUT" if path.endswith("priority") else "POST"
    error = http.send(method, path, draft, status=400)["error"]
    assert error["field"] == "prio"
    assert error["message"].startswith("prio: There is no such field. There are: ")
    assert agent.records.jobs.listing() == []


def test_commands_show_of_jobs_what_the_api_shows(
    agent: Agent,
    http: AgentCaller,
    api: InMemoryKerutaApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*command: str) -> Any:
        assert main.run([*command, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    monkeypatch.setenv("KERUTA_BASE_DIR", str(agent.settings.base_dir))
    _record_task(agent, api, 'mkdir -p "$KERUTA_ARTIFACTS_DIR"; : > "$KERUTA_ARTIFACTS_DIR/file"')
    run.run_next(agent)
    agent.records.jobs.record_script("ad-hoc", Work(script="true"))

    none_asked = {"question": None}
    assert said("queue", "list") == [job | none_asked for job in http.get("/jobs")]
    shown, job = said("queue", "show", "1"), http.get("/jobs/1") | none_asked
    assert shown.keys() == job.keys()
    both = zip(shown["runs"] + shown["artifacts"], job["runs"] + job["artifacts"], strict=True)
    for here, there in both:
        assert {name: here[name] for name in there.keys() - {"usage"}}.items() <= there.items()
    assert said("queue", "move", "2", "9") == http.send("PUT", "/jobs/2/priority", {"priority": 9})
    assert said("queue", "pause", "--reason", "x") == http.send("POST", "/pause", {"reason": "x"})
    assert said("queue", "resume") == http.send("POST", "/resume")
    assert said("queue", "cancel", "1") == http.send("POST", "/jobs/1/cancel")
    run.run_next(agent)
    again = said("queue", "retry", "2"), http.send("POST", "/jobs/2/retry", status=201)
    assert again == ({"job": 3, "task": None}, {"job": 4, "task": None})
