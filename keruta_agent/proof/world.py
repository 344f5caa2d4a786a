"""A soak's own world: a temporary directory, a server, the proxy before it, and the daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keruta_agent import errors
from keruta_agent.proof import leftovers
from keruta_agent.proof.proxy import FlakyProxy
from keruta_agent.proof.sandbox import Sandbox, tail

#: Seconds that a process gets to start, or to end after it was asked to.
PATIENCE_S: Final = 30.0
LOOK_S: Final = 0.05
READY: Final = b" is ready, "

#: What the agent is told, beside where everything is. Short times, so that much happens.
_SETTINGS: Final[Mapping[str, str]] = {
    "KERUTA_POLL_INTERVAL": "300ms",
    "KERUTA_TIMEOUT": "1s",
    "KERUTA_API_STATUS_TIMEOUT": "2s",
    "KERUTA_RETRY_COUNT": "0",
    "KERUTA_RETRY_DELAY": "100ms",
    "KERUTA_STOP_GRACE": "500ms",
    "KERUTA_AUTO_FIX_ENABLED": "false",
    # What was written is compared with what arrived, so nothing may be tidied away before.
    "KERUTA_RUNS_KEEP_SIZE": "1000GB",
}


class World(Sandbox):
    """Directories and processes of one soak."""

    def __init__(self, seed: int) -> None:
        """Makes the directory.

        Raises:
            AgentStateError: there is no place for it.
        """
        super().__init__("soak")
        self.ledger = self.directory / "ledger"
        self.daemon_log = self.directory / "daemon.log"
        self.server_log = self.directory / "server.log"
        self.ledger.mkdir()
        self.server_address = ("127.0.0.1", _free_port())
        self.proxy = FlakyProxy(self.server_address, seed)
        self._server: subprocess.Popen[bytes] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None
        self._session_id = ""
        self._log_start = 0

    def start(self) -> None:
        """Starts the server and the proxy.

        Raises:
            RunError: the server does not start.
        """
        self._start_server()
        deadline = time.monotonic() + PATIENCE_S
        while not _listens(self.server_address):
            if time.monotonic() > deadline or (self._server and self._server.poll() is not None):
                raise errors.RunError(f"the soak's server did not start\n{tail(self.server_log)}")
            time.sleep(LOOK_S)
        self.proxy.start()

    def serve(self, session_id: str) -> None:
        """Names the session that daemons started from now on serve."""
        self._session_id = session_id

    def start_daemon(self) -> None:
        """Starts a daemon; returns at once."""
        self._log_start = self.daemon_log.stat().st_size if self.daemon_log.exists() else 0
        self._daemon = self._spawn(["daemon"], self.daemon_log)

    @property
    def is_daemon_ready(self) -> bool:
        """Whether the daemon has said that it takes tasks."""
        with self.daemon_log.open("rb") as log:
            log.seek(self._log_start)
            return READY in log.read()

    def kill_daemon(self) -> int:
        """Ends the daemon as ``kill -9`` does, and returns how it ended (``Popen.returncode``)."""
        if self._daemon is None:
            return 0
        self._daemon.kill()
        return self._daemon.wait()

    def replace_daemon(self) -> None:
        """Has the daemon replace itself, as after an upgrade."""
        if self._daemon is not None:
            self._daemon.send_signal(signal.SIGHUP)

    def daemon_code(self) -> int | None:
        """Returns the daemon's exit code, None while it runs."""
        return None if self._daemon is None else self._daemon.poll()

    def kill_server(self) -> None:
        """Ends the server as ``kill -9`` does, and starts it again at once."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._start_server()

    def command(self, *arguments: str) -> int:
        """Runs one keruta command beside the daemon and returns its exit code."""
        process = self._spawn(list(arguments), self.directory / "commands.log")
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def end_processes(self) -> None:
        """Ends everything that was started here, and what the scripts left."""
        for process in (self._daemon, self._server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        deadline = time.monotonic() + PATIENCE_S
        while (left := leftovers.of_directory(self.directory)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(LOOK_S)
        if self.proxy.is_running:
            self.proxy.stop()

    def _start_server(self) -> None:
        port, data = str(self.server_address[1]), str(self.directory / "server")
        self._server = self._spawn(["server", "--port", port, "--data", data], self.server_log)

    def _spawn(self, arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
        variables = {
            **_SETTINGS,
            "KERUTA_ARTIFACTS_DIR": str(self.directory / "artifacts"),
            "KERUTA_API_URL": self.proxy.url,
            "KERUTA_SESSION_ID": self._session_id,
        }
        return self.spawn(arguments, variables, log)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1.0).close()
    except OSError:
        return False
    return True
