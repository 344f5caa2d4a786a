"""Finds and ends the processes of a run without its shim's help.

The shim ends everything below it. This is for the case that the shim itself was killed: what it
looked after is found by the marker in its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

from keruta_agent.runs.directory import MARKER_VARIABLE, ProcessId, process_state
from keruta_agent.runs.shim import END_OF_INPUT, descendants

LOOK_INTERVAL_S: Final = 0.02
#: Looks in a row that must find nothing before a run counts as ended.
CLEAR_LOOKS: Final = 2


def stop_shim(shim: ProcessId) -> None:
    """Asks a shim to stop its script and all that the script started."""
    if shim.is_alive():
        _send(shim.pid, signal.SIGTERM)
        _send(shim.pid, signal.SIGCONT)  # a frozen one would never see it


def end_input(shim: ProcessId) -> None:
    """Lets a script see the end of its input, when it has read what it was told before."""
    if shim.is_alive():
        _send(shim.pid, END_OF_INPUT)


def thaw(shim: ProcessId) -> None:
    """Lets a frozen shim go on: a script that froze it would never be seen to end."""
    found = process_state(shim.pid)
    if found is not None and found[0] in "Tt" and shim.is_alive():
        _send(shim.pid, signal.SIGCONT)


def reap(shim: ProcessId) -> None:
    """Collects an ended shim that a former image of this very process has started."""
    try:
        os.waitpid(shim.pid, os.WNOHANG)
    except ChildProcessError:  # it was another process's child: init's by now
        return


def reap_inherited() -> None:
    """Collects children that ended before this image of the process was there.

    Call it before anything is started: it must not take what somebody else waits for.
    """
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue


def kill_tree(shim: ProcessId, run_uid: str) -> None:
    """Kills a run's processes without asking, its shim among them."""
    if shim.is_alive():
        _freeze(shim)  # else it might start the script between the looks below and its own end
        while below := descendants(shim.pid):
            for pid in below:
                _send(pid, signal.SIGKILL)
            time.sleep(LOOK_INTERVAL_S)
        _send(shim.pid, signal.SIGKILL)
    sweep(run_uid, 0.0)


def _freeze(shim: ProcessId) -> None:
    """Stops a shim; returns when it can start nothing more."""
    _send(shim.pid, signal.SIGSTOP)
    # D: it waits in the kernel, for a disk or for the program that it starts, and stops after it.
    while (found := process_state(shim.pid)) is not None and found[0] not in "TtDZX":
        time.sleep(LOOK_INTERVAL_S)


def sweep(run_uid: str, grace_s: float, *, variable: str = MARKER_VARIABLE) -> list[int]:
    """Ends every process that bears the marker of a run and returns which there were.

    Returns when all are gone.
    """
    found = marked_processes(run_uid, variable=variable)
    number = signal.SIGTERM
    deadline = time.monotonic() + grace_s
    left = found
    clear_looks = 0
    # Twice: a process in the middle of an exec has no environment to be found by.
    while (clear_looks := 0 if left else clear_looks + 1) < CLEAR_LOOKS:
        for pid in left:
            _send(pid, number)
        time.sleep(LOOK_INTERVAL_S)
        if time.monotonic() >= deadline:
            number = signal.SIGKILL
        left = marked_processes(run_uid, variable=variable)
        found += [pid for pid in left if pid not in found]
    return found


def marked_processes(run_uid: str, *, variable: str = MARKER_VARIABLE) -> list[int]:
    """Returns the living processes that bear the marker of a run."""
    marker = f"{variable}={run_uid}".encode()
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _bears(entry, marker)
    ]


def _bears(entry: Path, marker: bytes) -> bool:
    try:
        environment = (entry / "environ").read_bytes()
    except OSError:  # gone meanwhile, or another user's
        return False
    if marker not in environment.split(b"\0"):
        return False
    state = process_state(int(entry.name))
    return state is not None and state[0] not in "ZX"


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
