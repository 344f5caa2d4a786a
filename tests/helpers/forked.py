"""Programs that a fork server (fork_server.py) starts, with what tests need of ``Popen``."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.helpers.fork_server import MOST_BYTES

#: Seconds within which the server is ready and forks, on a machine with much else to do.
_TIMEOUT_S = 60.0
_ROOT = Path(__file__).parents[2]


class ForkedProcess:
    """One forked program."""

    def __init__(self, arguments: Sequence[str], answer: socket.socket) -> None:
        self.args = list(arguments)
        self.returncode: int | None = None
        self._answer = answer
        self._lock = threading.Lock()
        self.pid = int(self._receive(_TIMEOUT_S))

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        with self._lock:
            if self.returncode is None:
                self.returncode = int(self._receive(timeout))
                self._answer.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.send_signal(signal.SIGKILL)

    def _receive(self, timeout: float) -> bytes:
        self._answer.settimeout(timeout)
        try:
            return self._answer.recv(64)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(self.args, timeout) from None


class _Server:
    """The fork server of this process and of those that are forked from it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "tests.helpers.fork_server", str(theirs.fileno())],
                cwd=_ROOT,
                env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self.close)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        standard: Sequence[IO[bytes]],
    ) -> ForkedProcess:
        request = json.dumps(
            {
                "arguments": list(arguments),
                "environment": dict(environment),
                "directory": str(directory),
            }
        ).encode()
        assert len(request) <= MOST_BYTES, "it is too long for the fork server"
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            descriptors = [theirs.fileno(), *(stream.fileno() for stream in standard)]
            socket.send_fds(self._control, [request], descriptors)
        return ForkedProcess(arguments, mine)

    def close(self) -> None:
        self._control.close()
        self._popen.wait(_TIMEOUT_S)


@cache
def _server() -> _Server:
    return _Server()


def begin() -> None:
    """Start the server, so that processes that are forked from this one share it."""
    _server()


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    standard: Sequence[IO[bytes]],
) -> ForkedProcess:
    """Start ``keruta``, in a session of its own; ``standard`` are its input, output and errors."""
    return _server().start(arguments, environment, directory, standard)
