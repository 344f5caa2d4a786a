"""The unix socket: scripts speak for their run, commands ask, strangers are sent away."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.socket import client, connections
from keruta_agent.agent.control.socket.address import socket_path
from keruta_agent.agent.control.socket.client import exchange
from keruta_agent.agent.control.socket.socket_server import AgentSocket
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Jobs, JobState, Work
from keruta_agent.core import errors
from keruta_agent.core.model import Task
from tests.helpers.agents import agent_in
from tests.helpers.waiting import wait_until


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path) as agent:
        door = AgentSocket(Control.of_agent(agent, lambda: {"pid": os.getpid()}))
        door.start()
        yield agent
        door.stop()
        assert not agent.socket_path.exists()


def call(base: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Send a request as older and other clients write it."""
    return exchange(socket_path(base), request)


@pytest.fixture
def base(agent: Agent) -> Path:
    return agent.settings.base_dir


@pytest.fixture
def claimed(agent: Agent):
    agent.records.jobs.record_script("x", Work(script="true"))
    job, run = agent.records.runs.claim_next()
    agent.directory_of(run).create()
    return job, run


def send(base: Path, run, message: object, *, token: str | None = None) -> dict[str, object]:
    request = {"op": "tell", "run": run.uid, "token": token or run.token, "message": message}
    return call(base, request)


def test_message_of_a_script_is_stored_and_the_follower_is_woken(agent, base, claimed):
    send(base, claimed[1], {"kind": "progress", "percent": 5, "message": "始め"})
    stored = agent.directory_of(claimed[1]).agent.read_text(encoding="utf-8")
    assert json.loads(stored) == {"kind": "progress", "percent": 5, "message": "始め"}
    assert agent.wake_event.clear()


@pytest.mark.parametrize("token", ["wrong", "トークン"])
def test_wrong_token_is_refused(agent, base, claimed, token):
    with pytest.raises(errors.KerutaError, match="not a run"):
        send(base, claimed[1], {"kind": "progress", "percent": 5}, token=token)
    assert agent.directory_of(claimed[1]).agent.read_text() == ""


def test_nonsense_in_a_message_is_refused_and_not_stored(agent, base, claimed):
    with pytest.raises(errors.KerutaError, match="0 to 100"):
        send(base, claimed[1], {"kind": "progress", "percent": 500})
    assert agent.directory_of(claimed[1]).agent.read_text() == ""


def test_script_is_handed_in_and_becomes_runnable(agent, base):
    work = {"script": "echo hi", "directory": "/tmp"}
    answer = call(base, {"op": "submit", "name": "日本", "priority": 3, "work": work})
    job = agent.records.jobs.get(answer["job"])
    assert (job.name, job.priority, job.work.script) == ("日本", 3, "echo hi")
    assert agent.queue.wakes == 1


def test_large_script_is_handed_in_whole(agent, base):
    script = "echo " + "x" * 2_000_000
    answer = call(base, {"op": "submit", "name": "big", "work": {"script": script}})
    assert agent.records.jobs.get(answer["job"]).work.script == script


def test_waiting_job_is_cancelled(agent, base):
    agent.records.jobs.record_task(Task(id="t"))
    assert call(base, {"op": "cancel", "job": 1})["was"] == "waiting"
    assert agent.records.jobs.get(1).state is JobState.FINISHED


def test_request_is_answered_while_the_disk_is_full(agent, base, monkeypatch):
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
    assert agent.records.jobs.listing() == []


def test_client_that_leaves_in_the_middle_harms_nobody(agent, base):
    for _ in range(20):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(agent.socket_path))
        connection.sendall(b'{"op": "stat')
        connection.close()
    assert call(base, {"op": "status"}) == {"pid": os.getpid()}


def test_connections_leave_neither_descriptors_nor_threads_behind(agent, base, claimed):
    def resources() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    send(base, claimed[1], {"kind": "progress", "percent": 1})
    descriptors, threads = resources()
    for number in range(100):
        send(base, claimed[1], {"kind": "progress", "percent": number})
        call(base, {"op": "submit", "name": "x", "work": {"script": "true"}})
        with pytest.raises(errors.KerutaError):
            call(base, {"op": "fly"})
    # The last ones may be on their way out, and SQLite keeps a few descriptors for the next ones.
    wait_until(lambda: resources()[1] <= threads, "the threads have ended")
    assert resources()[0] < descriptors + 30


def test_agent_with_one_job_in_the_foreground_takes_no_others(tmp_path):
    with agent_in(tmp_path) as agent:
        door = AgentSocket(Control.of_agent(agent, dict, takes_jobs=False))
        door.start()
        with pytest.raises(errors.AgentBusy):
            call(agent.settings.base_dir, {"op": "submit", "name": "x", "work": {}})
        door.stop()
        assert agent.records.jobs.listing() == []


def test_without_a_daemon_the_error_says_how_to_start_one(tmp_path):
    with pytest.raises(errors.AgentUnreachable, match="keruta daemon"):
        call(tmp_path, {"op": "status"})


def test_socket_is_private(agent):
    assert stat.S_IMODE(agent.socket_path.stat().st_mode) == 0o600


def test_socket_whose_path_is_too_long_for_the_kernel_stands_in_the_base_directory(tmp_path):
    with agent_in(tmp_path / ("とても長い" * 12)) as agent:
        door = AgentSocket(Control.of_agent(agent, lambda: {"pid": os.getpid()}))
        door.start()
        assert call(agent.settings.base_dir, {"op": "status"}) == {"pid": os.getpid()}
        assert agent.socket_path.parent == agent.settings.base_dir
        door.stop()
        assert not agent.socket_path.exists()


@contextlib.contextmanager
def held_connections(agent, number):
    """Connect from one client again and again, say half a request, and keep all of it."""
    held = []
    is_over = threading.Event()

    def connect():
        while not is_over.is_set():
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(0.2)
            held.append(connection)
            with contextlib.suppress(OSError):
                connection.connect(str(agent.socket_path))
                connection.send(b"{")
            if len(held) > number:
                held.pop(0).close()

    flood = threading.Thread(target=connect)
    flood.start()
    try:
        yield
    finally:
        is_over.set()
        flood.join()
        for connection in held:
            connection.close()


def test_flood_of_connections_is_bounded_and_blocks_nobody_else(agent, base):
    with held_connections(agent, 300):
        for _ in range(5):
            assert call(base, {"op": "status"}) == {"pid": os.getpid()}
            handlers = [each for each in threading.enumerate() if "process_request" in each.name]
            assert len(handlers) <= connections.MOST + 1
    assert call(base, {"op": "status"}) == {"pid": os.getpid()}


def test_client_that_drips_its_request_is_cut_off(agent, base, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_TIMEOUT_S", 0.3)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(agent.socket_path))
        with pytest.raises(OSError, match="pipe"):
            while True:
                connection.send(b" ")
                time.sleep(0.02)


def test_large_requests_wait_for_each_other_and_all_are_answered(agent, base):
    script = "# " + "x" * 2_000_000
    request = {"op": "submit", "name": "large", "work": {"script": script}}
    with futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: call(base, request), range(12)))
    assert sorted(each["job"] for each in answers) == list(range(1, 13))


def test_without_descriptors_the_socket_waits_and_goes_on(agent, base, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        # The next number is beyond the limit: what is open stays open.
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
        fill = [os.dup(0)]
        while fill[-1] < highest:
            fill.append(os.dup(0))
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (fill[-1] + 1, hard))
            connection.connect(str(agent.socket_path))
            connection.sendall(b'{"op": "status"}\n')
            wait_until(lambda: "it waits" in caplog.text, "the want of descriptors was noted")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in fill:
                os.close(descriptor)
        assert connection.recv(100).startswith(b"ok")
    assert call(base, {"op": "status"}) == {"pid": os.getpid()}


def test_another_users_socket_is_sent_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "peer_of", lambda _: connections.Peer(pid=1, uid=os.geteuid() + 1))
    tmp_path.chmod(0o777)
    (tmp_path / "base").mkdir()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(tmp_path / "base" / "agent.sock"))
        stranger.listen()
        with pytest.raises(errors.AgentUnreachable, match="another user"):
            call(tmp_path / "base", {"op": "submit", "name": "x", "work": {"script": "secret"}})
        heard, _ = stranger.accept()
        with heard:
            assert heard.recv(10) == b""
