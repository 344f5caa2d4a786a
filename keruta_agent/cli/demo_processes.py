"""The processes of the demo: server and daemon with a directory, and how nothing of them is left.

They get none of the user's keruta settings: neither the variables nor the config files.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keruta_agent import errors
from keruta_agent.git import commit as commits
from keruta_agent.git.command import Git
from keruta_agent.proof.sandbox import Sandbox, tail
from keruta_agent.records.store import Records
from keruta_agent.runs.processes import sweep
from keruta_agent.signals import StopRequests

#: Seconds that the server gets to start; it takes half a second on a quiet machine.
START_S: Final = 30.0
#: Seconds that a process gets to end after it was asked to.
GRACE_S: Final = 5.0
LOOK_S: Final = 0.05

_READY: Final = "listening on "


class Interruption:
    """Hears Ctrl-C, SIGTERM and a closed terminal, and tells of them where the demo pauses.

    Raised right in the handler, KeyboardInterrupt could hit between the start of a process and
    the note of its pid, or in the middle of the clean-up, and leave something behind.
    """

    def __init__(self) -> None:
        self._requests = StopRequests(hang_up_stops=True)

    def pause(self, seconds: float) -> None:
        """Waits.

        Raises:
            KeyboardInterrupt: the demo is to end.
        """
        self._requests.wait(seconds)
        if self._requests.count:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heard(self) -> Iterator[Interruption]:
        """Listens inside the block."""
        with self._requests.heard():
            yield self


#: Nobody's configuration of git has a say in the demo.
NOBODYS_GIT: Final = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


class DemoProcesses(Sandbox):
    """A temporary directory with a server and a daemon that live in it."""

    def __init__(self, interruption: Interruption) -> None:
        super().__init__("demo")
        self._interruption = interruption
        self.temporary = self.directory / "tmp"
        self.token_file = self.directory / "token"
        self.daemon_log = self.directory / "daemon.log"
        self.server_log = self.directory / "server.log"
        self.token = secrets.token_urlsafe(24)
        self.daemon: subprocess.Popen[bytes] | None = None
        self.server: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.temporary.mkdir()
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(f"{self.token}\n")

    def start_server(self) -> None:
        """Starts the embedded server and waits until it listens.

        Raises:
            RunError: it does not.
        """
        arguments = ["server", "--port", "0", "--data", str(self.directory / "server")]
        environment = {"KERUTA_SERVER_TOKEN": self.token}
        self.server = self.spawn(arguments, environment, self.server_log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.server.poll() is None:
            for line in self.server_log.read_text(errors="replace").splitlines(keepends=True):
                if line.startswith(_READY) and line.endswith("\n"):
                    self.url = line.removeprefix(_READY).strip()
                    return
            self._interruption.pause(LOOK_S)
        raise errors.RunError(f"the server did not start\n{tail(self.server_log)}")

    def start_daemon(self, session_id: str, *, keep_alive: bool) -> None:
        """Starts the daemon for a session."""
        environment = {
            "KERUTA_API_URL": self.url,
            "KERUTA_API_TOKEN": self.token,
            "KERUTA_ARTIFACTS_DIR": str(self.directory / "artifacts"),
            "KERUTA_POLL_INTERVAL": "1",
            "KERUTA_USE_HTTP_INPUT": "true",
            "KERUTA_DAEMON_PORT": "0",
            "KERUTA_STOP_GRACE": "1",
            **NOBODYS_GIT,
        }
        arguments = ["daemon", "--session-id", session_id]
        if keep_alive:
            arguments.append("--keep-alive")
        self.daemon = self.spawn(arguments, environment, self.daemon_log)

    def wait_for_daemon(self, patience_s: float) -> int | None:
        """Returns the daemon's exit code; None when it does not end."""
        deadline = time.monotonic() + patience_s
        while self.daemon is not None and time.monotonic() < deadline:
            code = self.daemon.poll()
            if code is not None:
                return code
            self._interruption.pause(LOOK_S)
        return None

    def remove(self) -> None:
        """Ends what still runs and removes the directory."""
        # The first request lets the script finish, the second one stops it.
        stop(self.daemon, requests=2)
        end_scripts(self.base_dir)
        stop(self.server, requests=1)
        super().remove()


def end_scripts(base_dir: Path) -> None:
    """Ends a script that outlived its daemon, as scripts do when a daemon is killed."""
    # A daemon that never got as far as its tables has started no script.
    with contextlib.suppress(errors.AgentStateError):
        records = Records.open_existing(base_dir)
        if records is None:
            return
        active = records.runs.active()
        records.close()
        if active is not None:
            sweep(active[1].uid, 1.0)


def make_repository(path: Path, files: Mapping[str, str]) -> None:
    """Makes a bare repository with one commit on main, such as a server would have.

    Raises:
        WorkspaceError: git does not make it.
    """
    path.mkdir()
    git = Git(path, timeout_s=START_S, variables=NOBODYS_GIT).at_bare(path)
    git.run("init", "--quiet", "--bare", "--initial-branch=main", action="make a repository")
    entries = []
    for name, text in files.items():
        blob = git.run(
            *("hash-object", "-w", "--stdin"), stdin=text.encode(), action="store a file"
        )
        entries.append(f"100644 blob {blob.text}\t{name}\n")
    tree = git.run("mktree", stdin="".join(entries).encode(), action="store a directory").text
    commit = commits.commit_tree(git, tree, (), "Begin the project")
    git.run("update-ref", "refs/heads/main", commit, action="begin main")


def stop(process: subprocess.Popen[bytes] | None, *, requests: int) -> None:
    """Ends a process: asks so many times, and then kills it."""
    if process is None:
        return
    for last in [False] * (requests - 1) + [True]:
        if process.poll() is not None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S if last else GRACE_S / 10)
    if process.poll() is None:
        process.kill()
        process.wait()
