"""The demo's own world: a directory, a server, a daemon, and their removal.

They get none of the user's keruta settings: neither the variables nor the config files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from keruta_agent.agent.api import parsing
from keruta_agent.agent.run.directory import ProcessId, process_state
from keruta_agent.agent.run.processes import sweep
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors, file_trees, model, wire
from keruta_agent.core.boot_clock import boot_id
from keruta_agent.core.model import LogEntry, Session, SessionStatus, Task
from keruta_agent.core.signals import StopRequests
from keruta_agent.git import commit as commits
from keruta_agent.git.command import Git
from keruta_agent.http.client import answers
from keruta_agent.http.client.http import HttpClient
from keruta_agent.soak.sandbox import Sandbox, tail

#: Seconds that the server gets to start; it takes half a second on a quiet machine.
START_S: Final = 30.0
#: Seconds that a process gets to end after it was asked to.
GRACE_S: Final = 5.0
LOOK_S: Final = 0.05
#: Log entries in one request.
PAGE: Final = 1000
#: The daemon and the server, in this order, so that nobody else's process is ended for them.
PROCESSES: Final = "processes.json"
#: Requests after which a process is killed: a daemon finishes its job, stops it, leaves.
REQUESTS: Final = 3

_READY: Final = "listening on "


class Interruption:
    """Ctrl-C, SIGTERM and a closed terminal, raised where the demo pauses.

    Raised right in the handler, KeyboardInterrupt could hit between the start of a process and
    the note of its pid, or in the middle of the clean-up, and leave something behind.
    """

    def __init__(self) -> None:
        self._requests = StopRequests(hang_up_stops=True)

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            KeyboardInterrupt: the demo is to end.
        """
        self._requests.wait(seconds)
        if self._requests.count:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heard(self) -> Iterator[Interruption]:
        """Listen inside the block."""
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
        """Start the embedded server and wait until it listens.

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
        """Start the daemon for a session."""
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

    def wait_for_daemon(self, timeout_s: float) -> int | None:
        """Return the daemon's exit code; None when it does not end."""
        deadline = time.monotonic() + timeout_s
        while self.daemon is not None and time.monotonic() < deadline:
            code = self.daemon.poll()
            if code is not None:
                return code
            self._interruption.pause(LOOK_S)
        return None

    def remove(self) -> None:
        """End what still runs and remove the directory."""
        # The first request lets the script finish, the second one stops it.
        stop(self.daemon, requests=2)
        end_scripts(self.base_dir)
        stop(self.server, requests=1)
        super().remove()


def end_scripts(base_dir: Path) -> None:
    """End a script that outlived its daemon, as scripts do when a daemon is killed."""
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
    """Make a bare repository with one commit on main, such as a server would have.

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
    """End a process: asks so many times, and then kills it."""
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


def note_processes(directory: Path, pids: Sequence[int]) -> None:
    """Note which processes live in the directory of a demo, in the order in which to end them."""
    found = [(pid, process_state(pid)) for pid in pids]
    processes = [
        ProcessId(pid=pid, start_time=state[1], boot_id=boot_id())
        for pid, state in found
        if state is not None
    ]
    text = json.dumps([dataclasses.asdict(process) for process in processes])
    (directory / PROCESSES).write_text(text, encoding="ascii")


def stop_kept(directory: Path) -> None:
    """End the processes of a kept demo and remove its directory.

    Raises:
        UsageError: it is no directory of a kept demo.
        RunError: something of it cannot be removed.
    """
    try:
        noted = json.loads((directory / PROCESSES).read_text(encoding="ascii"))
        processes = [ProcessId(**each) for each in noted]
    except (OSError, ValueError, TypeError) as exc:
        raise errors.UsageError(
            f"{directory} holds no demo that was kept", advice="See what `keruta demo --keep` said"
        ) from exc
    for process in processes:
        _end(process)
    end_scripts(directory / "agent")
    try:
        file_trees.remove(directory)
    except OSError as exc:
        raise errors.RunError(
            f"cannot remove {directory}: {exc.strerror}", advice="Remove it by hand"
        ) from exc


def _end(process: ProcessId) -> None:
    for number in [signal.SIGTERM] * REQUESTS + [signal.SIGKILL]:
        deadline = time.monotonic() + GRACE_S
        if process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        while process.is_alive() and time.monotonic() < deadline:
            time.sleep(LOOK_S)


class DemoApi:
    """A client of the embedded server of the demo."""

    def __init__(self, url: str, token: str) -> None:
        self._http = HttpClient(url, token=token, timeout_s=10, user_agent="keruta-demo")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def create_session(self, name: str, repository: Path) -> Session:
        """Create a session whose tasks work in a repository."""
        action = "Creating the demo's session"
        body = {"name": name, "repositoryUrl": str(repository), "repositoryRef": "main"}
        response = self._http.write(action, "POST", "/api/v1/sessions", body, key=_key())
        return parsing.session_of(response, action)

    def end_session(self, session_id: str) -> None:
        """Set the session COMPLETED, upon which its daemon ends."""
        path = f"/api/v1/sessions/{session_id}/status"
        body = {"status": SessionStatus.COMPLETED.value}
        self._http.write("Ending the demo's session", "PUT", path, body, key=_key())

    def file_task(self, session_id: str, name: str, script: str, temporary: Path) -> None:
        """File a task whose script keeps its temporary files in a directory of the demo's."""
        body = {
            "sessionId": session_id,
            "name": name,
            "script": script,
            "parameters": {"env": {"TMPDIR": str(temporary)}},
        }
        self._http.write(f"Filing the task {name}", "POST", "/api/v1/tasks", body, key=_key())

    def tasks(self, session_id: str) -> list[Task]:
        """Return all tasks of the session, the oldest first."""
        action = "Reading the demo's tasks"
        response = self._http.get(action, f"/api/v1/sessions/{session_id}/tasks")
        return model.in_execution_order(parsing.tasks_of(response, action))

    def log_page(self, task_id: str, page: int) -> list[LogEntry]:
        """Return ``PAGE`` entries of a task's log, the oldest on page 0."""
        action = f"Reading the log of task {task_id}"
        query = {"order": "asc", "page": str(page), "size": str(PAGE)}
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/logs", params=query)
        schema = wire.LogEntrySchema(many=True)
        entries: list[LogEntry] = schema.load(answers.json_of(response, action))
        return entries

    def open_question(self, task_id: str) -> str | None:
        """Return what the script of a task asks, None while it asks nothing."""
        action = f"Reading the question of task {task_id}"
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/input-request")
        if response.status_code != HTTPStatus.OK:
            return None
        asked = answers.json_of(response, action)
        return str(asked["prompt"]) if asked["open"] else None

    def answer(self, task_id: str, text: str) -> bool:
        """Answer it; tells whether it was still asked."""
        path = f"/api/v1/tasks/{task_id}/input"
        try:
            self._http.write("Answering a script", "POST", path, {"input": text}, key=_key())
        except errors.ApiConflict:
            return False
        return True

    def artifacts(self, task_id: str) -> list[str]:
        """Return the paths of the files that are stored with a task."""
        action = f"Reading the artifacts of task {task_id}"
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/artifacts")
        return [str(artifact["path"]) for artifact in answers.json_of(response, action)]

    def run_time_s(self, task_id: str) -> float | None:
        """Return how long a task's script ran, in seconds; None before it is known."""
        action = f"Reading the metrics of task {task_id}"
        response = self._http.get(action, f"/api/v1/tasks/{task_id}/metrics")
        times = [
            measured["metrics"]["durationMs"]
            for measured in answers.json_of(response, action)
            if "durationMs" in measured["metrics"]
        ]
        return times[0] / 1000 if times else None


def _key() -> str:
    return f"demo-{uuid.uuid4().hex}"
