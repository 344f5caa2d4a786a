"""The executor of a run's commands: tests, and the steps of playbooks.

Each gets a session of its own, no keys, nothing to read, a time limit and a bounded memory of what
it prints; whatever it started is gone when it has ended, wherever that went, and when the run
itself is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from keruta_agent.core.coding.model import SingleTestResult
from keruta_agent.core.process_tree import children, ending
from keruta_agent.core.process_tree.channel import private_pipe
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.checks import home, supervisor
from keruta_agent.runner.checks.environment import without_secrets
from keruta_agent.runner.deadline import Deadline

#: Bytes of a stream that are kept from its beginning and from its end.
HEAD: Final = 64 * 1024
TAIL: Final = 192 * 1024
#: In the environment of a command's processes, which are found by it when their supervisor was
#: killed.
MARKER: Final = "KERUTA_COMMAND_UID"
#: Seconds that a command gets to clear up, and between looks at it.
GRACE_S: Final = 2.0
LOOK_S: Final = 0.05
#: Seconds to wait for the last output of a command that has ended, and for its supervisor.
_DRAIN_S: Final = 5.0
_NOT_ENDED: Final = -1
_TIMED_OUT: Final = "\ntimed out"
#: Bytes of what a supervisor reports: a wait status, and a line end.
_MOST_REPORT: Final = 16
#: Lines of a stream that are reported as they come; more would be read by nobody.
_MOST_LINES: Final = 2000

OnLine = Callable[[str], None]


def _unheard(line: str) -> None:
    """Nobody listens."""


class CommandExecutor:
    """The executor of shell commands, one for each call; safe to share between threads."""

    def __init__(
        self,
        *,
        max_memory_mb: int | None = None,
        secrets: tuple[str, ...] = (),
        hidden: tuple[str, ...] = (),
        on_line: OnLine = _unheard,
        home_directory: Path | None = None,
    ) -> None:
        """Take the memory that each process may use, and what no command may see or print.

        ``home_directory`` is the commands', left out: the user's. ``on_line`` gets every line
        of output as it comes, with the secrets masked.
        """
        self._max_memory_mb = max_memory_mb
        self._secrets = secrets
        self._hidden = hidden
        self._on_line = on_line
        self._home = home_directory
        self._redactor = Redactor(secrets)

    def environment(self) -> dict[str, str]:
        """Return the variables that commands get: our own, without the secrets."""
        environment = without_secrets(os.environ, self._secrets, self._hidden)
        return environment if self._home is None else home.settled_in(self._home, environment)

    def execute(
        self,
        command: str,
        cwd: Path,
        timeout_seconds: float = 300,
        env: Mapping[str, str] | None = None,
        *,
        deadline: Deadline | None = None,
    ) -> SingleTestResult:
        """Run a command and return what came of it; a failure is a result, never an error.

        ``env`` is used as it is; without it the command gets ``environment()``. With a
        ``deadline``, the run's end ends the command too.
        """
        began = time.monotonic()
        uid = uuid.uuid4().hex
        base = self.environment() if env is None else dict(env)
        reading, writing = private_pipe()
        try:
            process = self._start(command, cwd, {**base, MARKER: uid}, writing)
        except (OSError, ValueError) as exc:
            os.close(reading)
            return _failed(command, f"cannot be started: {exc}", began)
        finally:
            os.close(writing)
        streams = [_Stream(pipe, self._hear) for pipe in (process.stdout, process.stderr) if pipe]
        try:
            complaint = self._wait(process, began + timeout_seconds, timeout_seconds, deadline)
            timed_out = complaint.startswith(_TIMED_OUT)
        finally:
            code = _end(process, uid, reading)
            for stream in streams:
                stream.close()
        stdout, stderr = (self._redactor.redact(stream.text()) for stream in streams)
        if complaint or code is None:
            complaint = complaint or "\nwhat looked after the command was killed\n"
            code = _NOT_ENDED
        return SingleTestResult(
            command=self._redactor.redact(command),
            success=code == 0,
            stdout=stdout,
            stderr=f"{stderr}{complaint}",
            exit_code=code,
            duration_seconds=time.monotonic() - began,
            timed_out=timed_out,
        )

    def _hear(self, line: str) -> None:
        if self._on_line is not _unheard:
            self._on_line(self._redactor.redact(line))

    def _start(
        self, command: str, cwd: Path, env: Mapping[str, str], report: int
    ) -> subprocess.Popen[bytes]:
        shell = ["/bin/sh", "-c", command]
        if self._max_memory_mb is not None:
            limit = f'ulimit -v {self._max_memory_mb * 1024} && exec /bin/sh -c "$1"'
            shell = ["/bin/sh", "-c", limit, "sh", command]
        own = (str(os.getpid()), str(report), str(GRACE_S))
        return OWN.spawn(
            [sys.executable, "-I", "-S", supervisor.__file__, *own, *shell],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(report,),
        )

    def _wait(
        self,
        process: subprocess.Popen[bytes],
        ends_at: float,
        timeout_s: float,
        deadline: Deadline | None,
    ) -> str:
        """Wait for the end; return why there was none, empty after one."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
                return ""
            if time.monotonic() > ends_at:
                return f"{_TIMED_OUT} after {timeout_s:g} s: ended with all that it had started\n"
            reason = deadline.stop_reason() if deadline else None
            if reason is not None:
                return f"\n{reason}: ended with all that it had started\n"


def _end(process: subprocess.Popen[bytes], uid: str, report: int) -> int | None:
    """End a command and everything that it started, wherever that went; return its exit code.

    None: unknown, because its supervisor was killed before it reported.
    """
    with os.fdopen(report, "rb") as file:
        # On SIGTERM a supervisor stops all others first, then reports how the command ended.
        if process.poll() is None:
            children.signal_all([process.pid], signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S + _DRAIN_S)
        ending.end(process, 0.0)
        os.set_blocking(file.fileno(), False)
        status = file.read(_MOST_REPORT) or b""
    if not status.endswith(b"\n"):
        OWN.end_orphans(0.0)
        ending.sweep(MARKER, uid, 0.0)
        return None
    return os.waitstatus_to_exitcode(int(status))


def _failed(command: str, complaint: str, began: float) -> SingleTestResult:
    return SingleTestResult(
        command=command,
        success=False,
        stdout="",
        stderr=complaint,
        exit_code=_NOT_ENDED,
        duration_seconds=time.monotonic() - began,
    )


class _Stream:
    """A pipe, read to its end; the beginning and end of what came are kept."""

    def __init__(self, pipe: IO[bytes], hear: OnLine) -> None:
        self._pipe = pipe
        self._hear = hear
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._lines = 0
        self._thread = threading.Thread(target=self._read, name="command-output", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the last output."""
        self._thread.join(_DRAIN_S)

    def text(self) -> str:
        """Return what came, with a note where something was left out."""
        note = f"\n... {self._dropped} bytes left out ...\n".encode() if self._dropped else b""
        return bytes(self._head + note + self._tail).decode("utf-8", errors="replace")

    def _read(self) -> None:
        with self._pipe:
            # readline with a limit: a line without an end must not fill the memory.
            for line in iter(lambda: self._pipe.readline(HEAD), b""):
                self._keep(line)
                self._lines += 1
                if self._lines <= _MOST_LINES:
                    self._hear(line.decode("utf-8", errors="replace").rstrip("\r\n"))

    def _keep(self, data: bytes) -> None:
        room = HEAD - len(self._head)
        if room > 0 and not self._tail:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        if len(self._tail) > 2 * TAIL:
            over = len(self._tail) - TAIL
            self._dropped += over
            del self._tail[:over]
