"""The end of programs, together with all that they started.

There are three ways to find what belongs to a program: it is below it; it came to this process
when its parent ended (children.py); or it bears a marker in its environment. The first two hold
whatever a hostile program does, the last one also for what another process has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import Final

from keruta_agent.core.process_tree import proc
from keruta_agent.core.process_tree.children import KILL_TIMEOUT_S, LOOK_S, OWN, signal_all

#: Looks in a row that must find nothing before nothing is left.
CLEAR_LOOKS: Final = 2


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a child that leads a process group, and everything below it.

    SIGTERM to each, the grace, SIGKILL. Call it also for one that has ended by itself: what it
    left in its group, or what has come to this process, is ended then.
    """
    began = time.monotonic()
    while True:
        # The leader first: it is not to tell of those below it that they were ended.
        left = []
        if process.poll() is None:
            left = [process.pid, *proc.descendants(process.pid)]
        passed_s = time.monotonic() - began
        if not left or passed_s > grace_s + KILL_TIMEOUT_S:
            break
        signal_all(left, signal.SIGTERM if passed_s < grace_s else signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_S)
    _kill_group(process.pid)
    OWN.end_orphans_when_idle()


def _kill_group(group: int) -> None:
    """Kill what is left of a process group, and wait until it is dead.

    The signal alone ends nothing at once: on a busy machine it is seen alive for a while yet.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_S
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
        while proc.group_members(group) and time.monotonic() < deadline:
            time.sleep(LOOK_S)


def sweep(variable: str, value: str, grace_s: float, *, looks: int = CLEAR_LOOKS) -> list[int]:
    """End every process with this variable in its environment; return which there were.

    Returns when so many looks have found nothing, or something cannot be ended.
    """
    left = marked(variable, value)
    found = list(left)
    began = time.monotonic()
    clear_looks = 0
    # Twice: a process in the middle of an exec has no environment to be found by.
    while (clear_looks := 0 if left else clear_looks + 1) < looks:
        passed_s = time.monotonic() - began
        if passed_s > grace_s + KILL_TIMEOUT_S:
            break
        signal_all(left, signal.SIGTERM if passed_s < grace_s else signal.SIGKILL)
        time.sleep(LOOK_S)
        left = marked(variable, value)
        found += [pid for pid in left if pid not in found]
    return found


def marked(variable: str, value: str) -> list[int]:
    """Return the living processes with this variable in their environment."""
    marker = f"{variable}={value}".encode()
    return [pid for pid in proc.all_pids() if _bears(pid, marker)]


def _bears(pid: int, marker: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            environment = file.readall()
    except OSError:  # gone meanwhile, or another user's
        return False
    if marker not in environment.split(b"\0"):
        return False
    state = proc.process_state(pid)
    return state is not None and state[0] not in "ZX"
