"""How an attempt is executed: as a process of the runner, which gets its task in TASK_CONTEXT.

Here it is a process of this machine. Its worker stays at the other end of a socket pair: there the
runner asks whether its attempt still holds before it pushes, and there it sees that the worker is
gone.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from keruta_agent.core.coding import branches, context_file, fence
from keruta_agent.core.process_tree import ending as process_ending
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.server.coding.attempts import Claim, Ending, Outcome

#: Seconds that a runner has to end in order before it is killed: it returns its slot.
GRACE_S: Final = 20.0
#: Seconds until the output of a runner that has ended counts as read.
OUTPUT_S: Final = 5.0
#: Bytes of the runner's result, which holds the difference; a longer one is not read.
LARGEST_RESULT: Final = 16 * 1024 * 1024
#: Lines of a runner's output that are kept for whoever asks why it ended.
LINES_KEPT: Final = 50
_LONGEST_LINE: Final = 2_000
#: Errors of a runner after which another attempt may do: what it needs was away.
_UNAVAILABLE: Final = frozenset(
    {
        "ArtifactUploadError",
        "ConnectionError",
        "ServiceError",
        "SlotAllocationError",
        "WorkspacePreparationError",
    }
)
#: Variables of the worker that are no business of a runner.
_OWN: Final = ("KERUTA_SERVER_", "KERUTA_POOL_")

#: Answers whether an attempt may still push.
MayPush = Callable[[], bool]


class Execution(Protocol):
    """An attempt under way."""

    def wait(self) -> Ending:
        """Wait for the end of the runner, and return what came of it."""

    def stop(self) -> None:
        """Have the runner end in order, and soon."""


class Executor(Protocol):
    """What starts runners."""

    def start(self, claim: Claim, may_push: MayPush) -> Execution:
        """Start a runner for an attempt."""


class LocalProcesses:
    """The executor that starts runners as processes of this machine."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = {
            name: value for name, value in environment.items() if not name.startswith(_OWN)
        }

    def start(self, claim: Claim, may_push: MayPush) -> LocalProcess:
        """Start a runner for an attempt."""
        return LocalProcess(claim, may_push, self._environment)


class LocalProcess:
    """A runner as a process of this machine, with its own directory and process group."""

    def __init__(self, claim: Claim, may_push: MayPush, environment: Mapping[str, str]) -> None:
        self._may_push = may_push
        self._lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self._ours, theirs = socket.socketpair()
        self._directory = tempfile.TemporaryDirectory(prefix="keruta-pool-")
        try:
            self._process = OWN.spawn(
                [sys.executable, "-m", "keruta_agent.runner"],
                cwd=self._directory.name,
                env={
                    **environment,
                    context_file.VARIABLE: json.dumps(_context(claim), ensure_ascii=False),
                    fence.VARIABLE: str(theirs.fileno()),
                },
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            self._ours.close()
            self._directory.cleanup()
            raise
        finally:
            theirs.close()
        self._last = b""
        self._reader = threading.Thread(target=self._read, name="output", daemon=True)
        self._reader.start()
        self._gate = threading.Thread(target=self._answer, name="fence", daemon=True)
        self._gate.start()

    @property
    def pid(self) -> int:
        """The number of the runner's process."""
        return self._process.pid

    def wait(self) -> Ending:
        """Wait for the end of the runner, and return what came of it."""
        try:
            code = self._process.wait()
        finally:
            process_ending.end(self._process, GRACE_S)
            # Whoever still holds the output is no process of the runner's.
            self._reader.join(OUTPUT_S)
            with contextlib.suppress(OSError):
                self._ours.shutdown(socket.SHUT_RDWR)
            self._gate.join()
            self._ours.close()
            self._directory.cleanup()
        return _ending(code, _result(self._last), "\n".join(self._lines))

    def stop(self) -> None:
        """Have the runner end in order; it is killed when that takes too long."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        threading.Timer(GRACE_S, self._kill).start()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> None:
        """Read the runner's output to its end."""
        output = self._process.stdout
        with contextlib.suppress(OSError, ValueError):
            while output is not None and (line := output.readline(LARGEST_RESULT)):
                self._lines.append(line[:_LONGEST_LINE].decode(errors="replace").rstrip())
                self._last = line if line.startswith(b"{") else self._last

    def _answer(self) -> None:
        """Answer the runner's questions until it has ended."""
        with contextlib.suppress(OSError):
            while self._ours.recv(len(fence.ASK)) == fence.ASK:
                self._ours.sendall(fence.YES if self._may_push() else fence.NO)


def _context(claim: Claim) -> dict[str, Any]:
    """Return the task as its runner gets it: with the number of the attempt."""
    metadata = claim.context.get("metadata") or {}
    return {**claim.context, "metadata": {**metadata, branches.ATTEMPT: claim.attempt}}


def _result(line: bytes) -> Mapping[str, Any] | None:
    """Return the result that a runner printed, None where the line is none."""
    try:
        result = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) and "success" in result else None


def _ending(code: int, result: Mapping[str, Any] | None, output: str) -> Ending:
    """Return what the end of a runner means; success needs its word as well as its exit code."""
    if result is None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code} and no result"
        # One that cannot understand its task says so with 2, and never will.
        outcome = Outcome.FAILED if code == 2 else Outcome.UNAVAILABLE
        return Ending(outcome=outcome, error=f"the runner {how}: {output[-1000:]}".strip())
    if code == 0 and result["success"] is True:
        return Ending(outcome=Outcome.SUCCEEDED, result=result)
    kind, text = result.get("error_type"), result.get("error") or f"exit code {code}"
    outcome = Outcome.UNAVAILABLE if kind in _UNAVAILABLE else Outcome.FAILED
    return Ending(outcome=outcome, error=f"{kind}: {text}" if kind else str(text), result=result)
