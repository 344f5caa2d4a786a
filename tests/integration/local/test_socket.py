"""The unix socket: scripts speak for their run, commands ask, strangers are sent away."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent import errors
from keruta_agent.journey.agent import Agent
from keruta_agent.local.address import LONGEST_PATH, socket_path
from keruta_agent.local.client import call
from keruta_agent.local.socket_server import AgentSocket
from keruta_agent.model import Task
from keruta_agent.records.jobs import Jobs, JobState, Work
from tests.helpers.agents import agent_in


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path) as agent:
        door = AgentSocket(agent, lambda: {"pid": os.getpid()})
        door.start()
        yield agent
        door.stop()
        assert not agent.socket_path.exists()


@pytest.fixture
def base(agent: Agent) -> Path:
    return agent.settings.base_dir


@pytest.fixture
def claimed(agent: Agent):
    agent.jobs.record_script("x", Work(script="true"))
    job, run = agent.runs.claim_next()
    agent.directory_of(run).create()
    return job, run


def tell(base: Path, run, message: object, *, token: str | None = None) -> dict[str, object]:
    request = {"op": "tell", "run": run.uid, "token": token or run.token, "message": message}
    return call(base, request)


def test_message_of_a_script_is_stored_and_the_follower_is_woken(agent, base, claimed):
    tell(base, claimed[1], {"kind": "progress", "percent": 5, "message": "始め"})
    stored = agent.directory_of(claimed[1]).agent.read_text(encoding="utf-8")
    assert json.loads(stored) == {"kind": "progress", "percent": 5, "message": "始め"}
    assert agent.doorbell.answer()


@pytest.mark.parametrize("token", ["wrong", "トークン"])
def test_wrong_token_is_refused(agent, base, claimed, token):
    with pytest.raises(errors.KerutaError, match="not a run"):
        tell(base, claimed[1], {"kind": "progress", "percent": 5}, token=token)
    assert agent.directory_of(claimed[1]).agent.read_text() == ""


def test_nonsense_in_a_message_is_refused_and_not_stored(agent, base, claimed):
    with pytest.raises(errors.KerutaError, match="0 to 100"):
        tell(base, claimed[1], {"kind": "progress", "percent": 500})
    assert agent.directory_of(claimed[1]).agent.read_text() == ""


def test_script_is_handed_in_and_becomes_runnable(agent, base):
    work = {"script": "echo hi", "directory": "/tmp"}
    answer = call(base, {"op": "submit", "name": "日本", "priority": 3, "work": work})
    job = agent.jobs.get(answer["job"])
    assert (job.name, job.priority, job.work.script) == ("日本", 3, "echo hi")
    assert agent.queue.runnable == [job.id]


def test_large_script_is_handed_in_whole(agent, base):
    script = "echo " + "x" * 2_000_000
    answer = call(base, {"op": "submit", "name": "big", "work": {"script": script}})
    assert agent.jobs.get(answer["job"]).work.script == script


def test_waiting_job_is_cancelled(agent, base):
    agent.jobs.record_task(Task(id="t"))
    assert call(base, {"op": "cancel", "job": 1})["was"] == "waiting"
    assert agent.jobs.get(1).state is JobState.FINISHED


def test_request_for_which_there_is_no_room_on_the_disk_is_answered(agent, base, monkeypatch):
    def full(*args, **kwargs):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Jobs, "record_script", full)
    with pytest.raises(errors.KerutaError, match="Make room on the disk"):
        call(base, {"op": "submit", "name": "x", "work": {"script": "true"}})


def test_cancel_of_an_unknown_job_is_an_error(base):
    with pytest.raises(errors.KerutaError, match="no job 77") as caught:
        call(base, {"op": "cancel", "job": 77})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"garbage\n",
        b"{}\n",
        b"[1, 2]\n",
        b'"text"\n',
        b'{"op": "fly"}\n',
        b'{"op": ["tell"]}\n',
        b'{"op": "cancel"}\n',
        b'{"op": "cancel", "job": "x"}\n',
        b'{"op": "submit", "name": "x"}\n',
        b'{"op": "submit", "name": "x", "work": 5}\n',
        b'{"op": "submit", "name": "x", "work": {}, "priority": "high"}\n',
        b'{"op": "submit", "name": "x", "work": {"command": [1, {}]}}\n',
        b'{"op": "submit_task"}\n',
        b'{"op": "tell"}\n',
        b"\xff\xfe\x00\n",
        b"no line end",
        b'{"op": ' + b"[" * 100_000 + b"\n",
    ],
)
def test_garbage_gets_an_error_and_the_next_request_an_answer(agent, base, line):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(agent.socket_path))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").readline()
    assert answer.startswith(b"error ")
    assert call(base, {"op": "status"}) == {"pid": os.getpid()}
    assert agent.jobs.listing() == []


def test_client_that_leaves_in_the_middle_harms_nobody(agent, base):
    for _ in range(20):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(agent.socket_path))
        connection.sendall(b'{"op": "stat')
        connection.close()
    assert call(base, {"op": "status"}) == {"pid": os.getpid()}


def test_agent_with_one_job_in_the_foreground_takes_no_others(tmp_path):
    with agent_in(tmp_path) as agent:
        door = AgentSocket(agent, dict, takes_jobs=False)
        door.start()
        with pytest.raises(errors.AgentBusy):
            call(agent.settings.base_dir, {"op": "submit", "name": "x", "work": {}})
        door.stop()
        assert agent.jobs.listing() == []


def test_without_a_daemon_the_error_says_how_to_start_one(tmp_path):
    with pytest.raises(errors.AgentUnreachable, match="keruta daemon"):
        call(tmp_path, {"op": "status"})


def test_socket_is_private(agent):
    assert stat.S_IMODE(agent.socket_path.stat().st_mode) == 0o600


def test_base_directory_with_a_long_path_gets_its_socket_elsewhere(tmp_path):
    base = tmp_path / ("とても長い" * 12)
    path = socket_path(base)
    assert len(os.fsencode(path)) <= LONGEST_PATH
    assert path != socket_path(base / "other")
    assert socket_path(Path("/short")) == Path("/short/agent.sock")
