"""Starts a daemon (and a server) for a measurement, and reads what they use from /proc."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

KERUTA = [sys.executable, "-m", "keruta_agent"]
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Measured:
    """One running agent with its server."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.environment = environment
        self.base_dir = directory / "base"
        self.server_url = ""
        self.session_id = ""
        self.daemon: subprocess.Popen[str] | None = None
        self._server: subprocess.Popen[str] | None = None

    def start_server(self) -> None:
        """Start the server, on the port that it had before."""
        port = self.server_url.rpartition(":")[2] or str(free_port())
        self._server = subprocess.Popen(
            [*KERUTA, "server", "--port", port, "--data", str(self.directory / "server")],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._server.stdout is None:
            raise RuntimeError("the server has no output")
        self.server_url = self._server.stdout.readline().split()[-1]

    def stop_server(self) -> None:
        """Stop the server; its data stay."""
        if self._server is not None:
            _stop(self._server)
            self._server = None

    @property
    def server_pid(self) -> int:
        """Number of the server's process."""
        if self._server is None:
            raise RuntimeError("no server")
        return self._server.pid

    def file_task(self, script: str, name: str = "task") -> str:
        """Files a task and returns its id."""
        answer = requests.post(
            f"{self.server_url}/api/v1/tasks",
            json={"sessionId": self.session_id, "name": name, "script": script},
            timeout=30,
        )
        return str(answer.json()["id"])

    def status(self, task_id: str) -> str:
        """Return the state of a task at the server."""
        answer = requests.get(f"{self.server_url}/api/v1/tasks/{task_id}", timeout=30)
        return str(answer.json()["status"])

    def kill_daemon(self) -> None:
        """End the daemon at once."""
        self._running().kill()
        self._running().wait()

    def cpu_seconds(self) -> float:
        """Return the processor time that the daemon has used."""
        return cpu_seconds(self._running().pid)

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Return a memory figure of the daemon, such as VmRSS or its peak VmHWM."""
        return memory_mb(self._running().pid, field)

    def _running(self) -> subprocess.Popen[str]:
        if self.daemon is None:
            raise RuntimeError("no daemon")
        return self.daemon

    def log_count(self, task_id: str) -> int:
        """Return how many lines the server has of a task."""
        url = f"{self.server_url}/api/v1/tasks/{task_id}/logs/count"
        return int(requests.get(url, timeout=60).json()["count"])


@contextlib.contextmanager
def running_agent(*, with_server: bool, **variables: str) -> Iterator[Measured]:
    """Run an agent in a temporary directory, with a server of its own if wanted."""
    with (
        tempfile.TemporaryDirectory(prefix="keruta-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        directory = Path(name)
        measured = Measured(
            directory,
            {
                "PATH": os.environ["PATH"],
                "HOME": name,
                "KERUTA_BASE_DIR": str(directory / "base"),
                "KERUTA_ARTIFACTS_DIR": str(directory / "artifacts"),
                **variables,
            },
        )
        if with_server:
            measured.start_server()
            stack.callback(measured.stop_server)
            _file_session(measured)
        log = stack.enter_context((directory / "daemon.log").open("w"))
        measured.daemon = subprocess.Popen(
            [*KERUTA, "daemon"], env=measured.environment, stderr=log, text=True
        )
        stack.callback(_stop, measured.daemon)
        wait_for(lambda: (directory / "base" / "agent.sock").exists() or _ended(measured))
        yield measured


def _ended(measured: Measured) -> bool:
    """Complain of a daemon that ended instead of serving.

    Raises:
        RuntimeError: it did.
    """
    if measured.daemon is not None and measured.daemon.poll() is not None:
        raise RuntimeError((measured.directory / "daemon.log").read_text())
    return False


def _file_session(measured: Measured) -> None:
    answer = requests.post(
        f"{measured.server_url}/api/v1/sessions", json={"name": "bench"}, timeout=30
    )
    measured.session_id = answer.json()["id"]
    measured.environment["KERUTA_API_URL"] = measured.server_url
    measured.environment["KERUTA_SESSION_ID"] = measured.session_id


def free_port() -> int:
    """Return a port that nobody uses; one named beforehand can be used again at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(60)


def wait_for(condition: Callable[[], object], timeout_s: float = 600) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it did not.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the agent did not do it in time")
        time.sleep(0.005)


def note_start(proof: Path) -> str:
    """Return a script whose first instruction notes the time; bash's clock needs no process."""
    return f"""#!/bin/bash
now=$EPOCHREALTIME
echo "$now" > {proof}.new; mv {proof}.new {proof}
"""


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Return a memory figure of a process, such as VmRSS or its peak VmHWM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)
