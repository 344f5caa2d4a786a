"""The wait for a command, with a time limit that ends all of its processes."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from typing import Final

from keruta_agent.core.process_tree import ending

#: Seconds between looks whether the command is to be stopped.
LOOK_S: Final = 0.2
#: Seconds that a stopped command gets to clear up after itself.
GRACE_S: Final = 2.0


class TookTooLongError(Exception):
    """The command did not end in its time."""


class StoppedError(Exception):
    """The command was stopped on request; the text says why."""


def no_stop() -> str | None:
    """Return that the command may go on."""
    return None


def wait(
    process: subprocess.Popen[bytes], timeout_s: float, stop_reason: Callable[[], str | None]
) -> int:
    """Return the exit code of a command that leads its own process group.

    Whatever it has started is ended when this returns.

    Raises:
        TookTooLongError: it took longer than this.
        StoppedError: ``stop_reason`` gave one.
    """
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(LOOK_S)
            if time.monotonic() > deadline:
                raise TookTooLongError
            reason = stop_reason()
            if reason is not None:
                raise StoppedError(reason)
    finally:
        ending.end(process, GRACE_S)
