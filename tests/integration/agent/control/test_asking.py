"""How the command line has a command done, whatever the daemon does meanwhile."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.control.commands import Pause, Submit
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.socket import protocol, socket_server
from keruta_agent.agent.control.socket.socket_server import AgentSocket, respond
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.artifacts import Owner
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.agent.store.store import Records
from keruta_agent.cli import asking
from keruta_agent.core.model import ArtifactFile
from keruta_agent.core.process_tree.proc import process_state
from tests.helpers.agents import agent_in
from tests.helpers.command_line import CommandLine, command_line
from tests.helpers.waiting import wait_until


@pytest.fixture
def keruta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    monkeypatch.setenv("KERUTA_BASE_DIR", str(tmp_path / "base"))
    with command_line(tmp_path, monkeypatch, capsys) as keruta:
        monkeypatch.setenv("KERUTA_BASE_DIR", str(tmp_path / "base"))
        yield keruta


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_in(tmp_path) as agent:
        yield agent


@contextlib.contextmanager
def served(agent: Agent, answer: Callable[[bytes], bytes], *, most: int = 1) -> Iterator[None]:
    """Answer so many requests on the agent's socket, and then listens no more."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent.socket_path))
        listener.listen()

        def serve() -> None:
            for _ in range(most):
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as requests:
                    connection.sendall(answer(requests.readline()))
            agent.socket_path.unlink()
            listener.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(10)
        assert not thread.is_alive()


COMMANDS = (
    (("queue", "pause", "--reason", "x"), "paused\n"),
    (("queue", "resume"), "resumed\n"),
    (("queue", "move", "2", "7"), "job 2 has priority 7 now, place 1 of 1\n"),
    (("queue", "retry", "1"), "queued as job 3\n"),
    (("queue", "cancel", "2"), "job 2 is cancelled\n"),
    (("execute", "--detach", "true"), "3\n"),
)


#: Those that daemons of earlier versions lack.
NEW_COMMANDS = [command for command, _ in COMMANDS[:4]]
#: The answer to a command that was done before.
DONE_BEFORE = {
    "resumed\n": "the queue was not paused\n",
    "job 2 is cancelled\n": "job 2 had ended already\n",
}


@pytest.fixture
def jobs(agent: Agent) -> None:
    """Job 1 has ended, job 2 waits, and the queue is paused."""
    agent.records.jobs.record_script("ended", Work(script="true"))
    agent.records.runs.cancel_job(1, "for a test")
    agent.records.jobs.record_script("waits", Work(script="true"))
    agent.records.jobs.pause("for a test")


@pytest.fixture
def stopped(agent: Agent) -> Iterator[int]:
    """A process that listens where the agent does, and was stopped."""
    code = (
        "import os, signal, socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); "
        "s.listen(); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(agent.socket_path)])
    wait_until(lambda: (process_state(process.pid) or " ")[0] == "T", "it is stopped")
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(("command", "out"), COMMANDS, ids=lambda value: value[1])
def test_answer_is_the_same_from_the_daemon_and_without_one(
    agent: Agent, keruta: CommandLine, command: tuple[str, ...], out: str
) -> None:
    control = Control.of_agent(agent, dict)
    with served(agent, lambda line: respond(control, line)):
        called = keruta(*command)
    assert (called.code, called.out, called.err) == (0, out, "")


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(("command", "out"), COMMANDS, ids=lambda value: value[1])
def test_daemon_that_dies_before_it_says_that_it_is_done_changes_nothing(
    agent: Agent, keruta: CommandLine, command: tuple[str, ...], out: str
) -> None:
    control = Control.of_agent(agent, dict)

    def die(line: bytes) -> bytes:
        assert respond(control, line).startswith(b"ok")
        return b""

    with served(agent, die):
        called = keruta(*command)
    assert (called.code, called.out) == (0, DONE_BEFORE.get(out, out))
    assert len(agent.records.jobs.listing()) == (3 if "3" in out else 2)


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("command", NEW_COMMANDS, ids=lambda command: command[1])
def test_daemon_of_an_older_version_is_named_in_one_line_and_nothing_is_done(
    agent: Agent, keruta: CommandLine, command: tuple[str, ...]
) -> None:
    def older(line: bytes) -> bytes:
        assert f'"op": "{command[1]}"'.encode() in line
        return f"error 2 not a request that this agent knows: '{command[1]}'\n".encode()

    with served(agent, older):
        called = keruta(*command)
    assert (called.code, called.out) == (1, "")
    assert f"of another version and lacks the command {command[1]}. Send it SIGHUP" in called.err
    assert called.err.count("\n") == 1
    assert agent.records.jobs.pause_reason() == "for a test"
    assert [(job.id, job.priority) for job in agent.records.jobs.listing()] == [(2, 0), (1, 0)]


def test_command_without_a_daemon_makes_the_records_and_wakes_one_that_has_started_meanwhile(
    tmp_path: Path, keruta: CommandLine
) -> None:
    assert keruta("queue", "pause", "--reason", "first").out == "paused\n"
    records = Records.open(tmp_path / "base")
    assert records.jobs.pause_reason() == "first"
    records.close()
    with agent_in(tmp_path) as agent:
        heard: list[bytes] = []

        def start_late(line: bytes) -> bytes:
            heard.append(line)
            return b"" if len(heard) == 1 else protocol.encode_answer({})

        with served(agent, start_late, most=2):
            keruta("queue", "resume")
        assert [b'"resume"' in line or b'"look"' in line for line in heard] == [True, True]


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize(("command", "out"), COMMANDS[:4], ids=lambda value: value[1])
def test_daemon_that_is_stopped_is_not_waited_for(
    agent: Agent, keruta: CommandLine, command: tuple[str, ...], out: str, stopped: int
) -> None:
    called = keruta(*command)
    assert (called.code, called.out) == (0, out)
    assert called.err == (
        f"keruta: the keruta daemon (process {stopped}) is stopped (SIGSTOP); done without it\n"
    )


@pytest.mark.usefixtures("jobs")
def test_daemon_that_does_not_answer_in_time_is_named(
    agent: Agent, keruta: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ANSWER_TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(agent.socket_path))
        listener.listen()
        called = keruta("queue", "pause", "--reason", "x")
    assert (called.code, called.out) == (0, "paused\n")
    assert "has not answered within" in called.err and "done without it" in called.err
    assert agent.records.jobs.pause_reason() == "x"


def test_artifact_is_removed_by_the_daemon_if_one_runs(agent: Agent, keruta: CommandLine) -> None:
    job = agent.records.jobs.record_script("x", Work(script="true"))
    for name in ("a", "b"):
        file = ArtifactFile(file=agent.socket_path, relative_path=name, size=1, sha256=name)
        agent.records.artifacts.add(Owner(task_id=None, job_id=job), file, key=name, is_copy=False)
    requests: list[bytes] = []

    def answer(line: bytes) -> bytes:
        requests.append(line)
        return respond(Control.of_agent(agent, dict), line)

    with served(agent, answer):
        assert keruta("artifact", "remove", "a", "1").out == "a is removed\n"
    assert [b'"remove_stored_artifact"' in line for line in requests] == [True]
    assert keruta("artifact", "remove", "b", "1").out == "b is removed\n"
    unknown = keruta("artifact", "remove", "c", "1")
    assert (unknown.code, unknown.out) == (2, "")


def test_command_of_a_client_that_has_left_is_not_done_late(agent: Agent) -> None:
    agent_socket = AgentSocket(Control.of_agent(agent, lambda: {"pid": 1}))
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(agent.socket_path))
            client.sendall(protocol.encode_request(Pause().to_request()))
    finally:
        agent_socket.start()  # hung until now
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(agent.socket_path))
            client.sendall(protocol.encode_request(Submit(name="x", work=Work()).to_request()))
            assert client.recv(100).startswith(b"ok")
        agent_socket.stop()
    assert agent.records.jobs.pause_reason() is None
    assert agent.records.jobs.counts()[JobState.WAITING] == 1


def test_stop_waits_for_answers_under_way(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(control: Control, line: bytes) -> bytes:
        begun.set()
        go_on.wait(10)
        return b"ok\n"

    monkeypatch.setattr(socket_server, "respond", slow)
    agent_socket = AgentSocket(Control.of_agent(agent, dict))
    agent_socket.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(agent.socket_path))
        client.sendall(b"{}\n")
        assert begun.wait(10)
        stopping = threading.Thread(target=agent_socket.stop)
        stopping.start()
        wait_until(lambda: not agent.socket_path.exists(), "nobody else is let in")
        assert stopping.is_alive()
        go_on.set()
        stopping.join(10)
        assert client.recv(10) == b"ok\n"
