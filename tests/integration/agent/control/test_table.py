"""The table of commands: every interface carries all, and a script only those of its run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.agent.control import commands, table
from keruta_agent.agent.control.commands import Command, RunCommand
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.table import TABLE, execute
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store import requests
from keruta_agent.agent.store.jobs import Work
from keruta_agent.core import errors
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in

SECRET = "correct-horse-battery"
OF_RUN = {"run": "uid", "token": SECRET}
COMMANDS: tuple[Command[Any], ...] = (
    commands.Pause(reason="デプロイ中"),
    commands.Pause(),
    commands.Resume(),
    commands.Move(job=3, priority=-5),
    commands.Retry(job=3),
    commands.Cancel(job=3, reason="with Ctrl-C"),
    commands.Submit(
        name="日本",
        work=Work(command=("echo", SECRET), environment={"A": SECRET}, parameters={"tty": True}),
        priority=2,
    ),
    commands.SubmitTask(task="t"),
    commands.Look(),
    commands.Flush(),
    commands.Status(),
    commands.RemoveStoredArtifact(names=["a", "b/a"], job=3),
    commands.RemoveStoredArtifact(names=["a"], task="t"),
    commands.AnswerInput(job=3, text=SECRET, number=1),
    commands.AnswerInput(job=3, text=""),
    commands.FeedInput(job=3, data="c2VjcmV0", ends=True),
    commands.Report(**OF_RUN, message={"kind": "mask", "value": SECRET}),
    commands.ListArtifacts(**OF_RUN),
    commands.RemoveArtifact(**OF_RUN, names=["a", "b/a"]),
)


@pytest.fixture
def agent(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    with agent_in(tmp_path, api) as agent:
        yield agent


@pytest.fixture
def control(agent: Agent) -> Control:
    return Control.of_agent(agent, dict)


def test_every_command_is_tried_here() -> None:
    assert {command.NAME for command in COMMANDS} == TABLE.keys()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.NAME)
def test_command_is_read_as_it_was_sent_and_shows_no_secret(command: Command[Any]) -> None:
    request = json.loads(json.dumps(command.to_request()))
    assert table.read(request) == command
    assert table.read({**request, "of_a_later_version": 1}) == command
    assert SECRET not in repr(command)


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if isinstance(command, RunCommand)],
    ids=lambda command: command.NAME,
)
def test_script_speaks_for_no_other_run_and_for_its_own_only_until_its_end(
    agent: Agent, control: Control, command: RunCommand[Any]
) -> None:
    agent.records.jobs.record_script("x", Work(script="true"))
    claimed = agent.records.runs.claim_next()
    assert claimed is not None
    run = claimed[1]
    agent.directory_of(run).create()
    for run_uid, token in ((run.uid, SECRET), (run.uid, ""), ("uid", run.token)):
        stranger = dataclasses.replace(command, run=run_uid, token=token)
        with pytest.raises(errors.UsageError, match="not a run that the agent knows"):
            execute(control, stranger)
    with agent.records.database.transaction() as connection:
        connection.execute("UPDATE runs SET state = 'ended', ended_at = 1.0")
    with pytest.raises(errors.UsageError, match="the run is over"):
        execute(control, dataclasses.replace(command, run=run.uid, token=run.token))
    assert agent.directory_of(run).agent.read_text() == ""


@pytest.mark.parametrize(
    "request_",
    [
        {"op": "move", "job": 1, "priority": 2**31},
        {"op": "cancel", "job": 2**63},
        {"op": "pause", "reason": "caf\udce9"},
        {"op": "submit", "name": "x", "work": {"script": "true", "parent_task_id": "t"}},
        {"op": "remove_artifact", **OF_RUN, "names": []},
    ],
    ids=lambda request: str(request["op"]),
)
def test_field_that_cannot_be_is_a_mistake_of_the_client(request_: dict[str, Any]) -> None:
    with pytest.raises(errors.UsageError, match=f"the command {request_['op']} "):
        table.read(request_)


def test_same_request_asked_again_makes_no_second_job(agent: Agent, control: Control) -> None:
    submit = commands.Submit(name="x", work=Work(script="true"))
    first = execute(control, submit)
    assert execute(control, submit) == first
    execute(control, commands.Cancel(job=first.job))
    retry = commands.Retry(job=first.job)
    again = execute(control, retry)
    assert execute(control, retry) == again
    assert execute(control, commands.Retry(job=first.job)) != again
    assert len(agent.records.jobs.listing()) == 3


def test_retry_of_a_task_that_is_asked_again_files_no_second_task(
    agent: Agent, control: Control, api: InMemoryKerutaApi
) -> None:
    task = api.add_task(SESSION, "true")
    agent.records.jobs.record_task(task)
    execute(control, commands.Cancel(job=1))
    retry = commands.Retry(job=1)
    assert execute(control, retry) == execute(control, retry)
    assert [filed.parameters.get("retryOf") for filed in api.tasks.values()] == [None, task.id]


def test_only_the_newest_requests_are_remembered(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_REQUESTS", 2)
    recent = requests.RecentRequests(agent.records.database)
    for number in range(3):
        assert recent.once(f"key {number}", lambda number=number: number) == number
    assert recent.once("key 1", lambda: 7) == 1
    assert recent.once("key 0", lambda: 7) == 7


@pytest.mark.parametrize(
    "command",
    [
        commands.AnswerInput(job=1, text="x"),
        commands.FeedInput(job=1),
        commands.ListArtifacts(**OF_RUN),
    ],
    ids=lambda command: command.NAME,
)
def test_what_only_a_running_agent_can_do_says_that_none_runs(
    agent: Agent, control: Control, command: Command[Any]
) -> None:
    absent = dataclasses.replace(control, agent=None)
    with pytest.raises(errors.AgentUnreachable, match="no keruta daemon runs"):
        execute(absent, command)
