"""How an attempt is executed: as a process of the runner, which gets its task in TASK_CONTEXT.

Here it is a process of this machine. Its worker stays at the other end of a socket pair: there the
runner asks whether its attempt still holds before it pushes, and there it sees that the worker is
gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from keruta_agent.core.coding import branches, context_file, fence
from keruta_agent.core.process_tree import ending as process_ending
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.server.coding import directories
from keruta_agent.server.coding.attempts import Claim, Ending
from keruta_agent.server.coding.directories import AttemptDirectory
from keruta_agent.server.coding.outcomes import Output

#: Seconds that a runner has to end in order before it is killed: it returns its slot.
GRACE_S: Final = 20.0
#: Variables of the worker that are no business of a runner.
_OWN: Final = ("KERUTA_SERVER_", "KERUTA_POOL_")

#: Answers whether an attempt may still push.
MayPush = Callable[[], bool]
#: Answers of a task's id and the number of an attempt whether that is over.
IsOver = Callable[[str, int], bool]


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

    def tidy(self, is_over: IsOver) -> None:
        """Remove what workers that died have left on this machine."""


class LocalProcesses:
    """The executor that starts runners as processes of this machine."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = for_runner(environment)

    def start(self, claim: Claim, may_push: MayPush) -> LocalProcess:
        """Start a runner for an attempt."""
        return LocalProcess(claim, may_push, self._environment)

    def tidy(self, is_over: IsOver) -> None:
        """Remove the directories that are left; the runners in them end with their workers."""
        directories.remove_left()


class LocalProcess:
    """A runner as a process of this machine, with its own directory and process group."""

    def __init__(self, claim: Claim, may_push: MayPush, environment: Mapping[str, str]) -> None:
        self._ours, theirs = socket.socketpair()
        self._directory = AttemptDirectory()
        try:
            self._process = OWN.spawn(
                [sys.executable, "-m", "keruta_agent.runner"],
                cwd=self._directory.work,
                env={
                    **environment,
                    # What a runner that is killed leaves there goes with the directory.
                    "TMPDIR": str(self._directory.temporary),
                    context_file.VARIABLE: context_of(claim),
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
            self._directory.remove()
            raise
        finally:
            theirs.close()
        self._output = Output(self._process.stdout)
        self._gate = threading.Thread(
            target=answer, args=(self._ours, may_push), name="fence", daemon=True
        )
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
            with contextlib.suppress(OSError):
                self._ours.shutdown(socket.SHUT_RDWR)
            self._gate.join()
            self._ours.close()
            self._directory.remove()
        return self._output.ending(code)

    def stop(self) -> None:
        """Have the runner end in order; it is killed when that takes too long."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        threading.Timer(GRACE_S, self._kill).start()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def for_runner(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's variables without those that are none of a runner's business."""
    return {name: value for name, value in environment.items() if not name.startswith(_OWN)}


def context_of(claim: Claim) -> str:
    """Return the task as its runner gets it: with the number of the attempt."""
    metadata: Any = claim.context.get("metadata") or {}
    context = {**claim.context, "metadata": {**metadata, branches.ATTEMPT: claim.attempt}}
    return json.dumps(context, ensure_ascii=False)


def answer(connection: socket.socket, may_push: MayPush) -> None:
    """Answer a runner's questions until it has ended."""
    with contextlib.suppress(OSError):
        while connection.recv(len(fence.ASK)) == fence.ASK:
            connection.sendall(fence.YES if may_push() else fence.NO)
