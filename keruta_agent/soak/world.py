"""A soak's own world: a directory, a server, the proxy before it, a repository, two agents."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from keruta_agent.core import errors
from keruta_agent.soak.daemon import Daemon
from keruta_agent.soak.evidence import leftovers
from keruta_agent.soak.proxy import FlakyProxy
from keruta_agent.soak.repository import Repository
from keruta_agent.soak.sandbox import Sandbox, tail

#: Seconds that a process gets to start, or to end after it was asked to.
TIMEOUT_S: Final = 30.0
LOOK_S: Final = 0.05

#: Settings of the agent, beside the addresses. Short times, so that much happens.
_SETTINGS: Final[Mapping[str, str]] = {
    "KERUTA_POLL_INTERVAL": "300ms",
    "KERUTA_TIMEOUT": "1s",
    "KERUTA_API_STATUS_TIMEOUT": "2s",
    "KERUTA_RETRY_COUNT": "0",
    "KERUTA_RETRY_DELAY": "100ms",
    "KERUTA_STOP_GRACE": "500ms",
    "KERUTA_AUTO_FIX_ENABLED": "false",
    "KERUTA_SESSION_LEASE": "2s",
    # What was written is compared with what arrived, so nothing may be tidied away before.
    "KERUTA_RUNS_KEEP_SIZE": "1000GB",
}


class World(Sandbox):
    """Directories and processes of one soak."""

    def __init__(self, seed: int) -> None:
        """Make the directory.

        Raises:
            AgentStateError: there is no place for it.
        """
        super().__init__("soak")
        self.script_records = self.directory / "script-records"
        self.server_log = self.directory / "server.log"
        self.script_records.mkdir()
        self.server_address = ("127.0.0.1", _free_port())
        self.proxy = FlakyProxy(self.server_address, seed)
        self.repository = Repository(self.directory)
        self.agent = Daemon(self.base_dir, self.directory / "daemon.log", self._spawn)
        #: Another agent of the same session.
        self.rival = Daemon(self.directory / "rival", self.directory / "rival.log", self._spawn)
        self._server: subprocess.Popen[bytes] | None = None
        self._session_id = ""

    def start(self) -> None:
        """Make the repository, and start the server and the proxy.

        Raises:
            RunError: the server does not start.
        """
        self.repository.make()
        self._start_server()
        deadline = time.monotonic() + TIMEOUT_S
        while not _listens(self.server_address):
            if time.monotonic() > deadline or (self._server and self._server.poll() is not None):
                raise errors.RunError(f"the soak's server did not start\n{tail(self.server_log)}")
            time.sleep(LOOK_S)
        self.proxy.start()

    def serve(self, session_id: str) -> None:
        """Set the session that daemons started from now on serve."""
        self._session_id = session_id

    def kill_server(self) -> None:
        """End the server as ``kill -9`` does, and start it again at once."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._start_server()

    @property
    def agents(self) -> tuple[Daemon, Daemon]:
        """Both agents."""
        return self.agent, self.rival

    def command(self, agent: Daemon, *arguments: str) -> int:
        """Run one keruta command next to an agent and return its exit code."""
        process = self._spawn(arguments, agent.base_dir, self.directory / "commands.log")
        try:
            return process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def end_processes(self) -> None:
        """End everything that was started here, and what the scripts left."""
        for agent in self.agents:
            agent.kill()
        if self._server is not None and self._server.poll() is None:
            self._server.kill()
            self._server.wait()
        deadline = time.monotonic() + TIMEOUT_S
        while (left := leftovers.of_directory(self.directory)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_S)
        if self.proxy.is_running:
            self.proxy.stop()

    def _start_server(self) -> None:
        port, data = str(self.server_address[1]), str(self.directory / "server")
        words = ["server", "--port", port, "--data", data]
        self._server = self._spawn(words, self.base_dir, self.server_log)

    def _spawn(
        self, arguments: Sequence[str], base_dir: Path, log: Path
    ) -> subprocess.Popen[bytes]:
        variables = {
            **_SETTINGS,
            "KERUTA_ARTIFACTS_DIR": str(self.directory / "artifacts" / base_dir.name),
            "KERUTA_API_URL": self.proxy.url,
            "KERUTA_SESSION_ID": self._session_id,
        }
        return self.spawn(arguments, variables, log, base_dir)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1.0).close()
    except OSError:
        return False
    return True
