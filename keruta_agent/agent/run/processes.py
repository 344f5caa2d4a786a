"""The stop of a run's processes, with its shim's help and without it.

The shim ends everything below it. Where it was killed itself, what it looked after is found as
process_tree/ending.py says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from keruta_agent.agent.run.directory import MARKER_VARIABLE, ProcessId
from keruta_agent.core.process_tree import ending
from keruta_agent.core.process_tree.children import KILL_TIMEOUT_S, LOOK_S, OWN, signal_all
from keruta_agent.core.process_tree.proc import descendants, process_state
from keruta_agent.core.process_tree.watch import END_OF_INPUT


def stop_shim(shim: ProcessId) -> None:
    """Ask a shim to stop its script and all that the script started."""
    if shim.is_alive():
        _send(shim.pid, signal.SIGTERM)
        _send(shim.pid, signal.SIGCONT)  # a frozen one would never see it


def end_input(shim: ProcessId) -> None:
    """Close a script's input once the script has read all of it."""
    if shim.is_alive():
        _send(shim.pid, END_OF_INPUT)


def thaw(shim: ProcessId) -> None:
    """Resume a stopped shim: the end of a script that stopped it would never be seen."""
    found = process_state(shim.pid)
    if found is not None and found[0] in "Tt" and shim.is_alive():
        _send(shim.pid, signal.SIGCONT)


def reap(shim: ProcessId) -> None:
    """Collect an ended shim that a former image of this very process has started."""
    try:
        os.waitpid(shim.pid, os.WNOHANG)
    except ChildProcessError:  # it was another process's child: init's by now
        return


def reap_inherited() -> None:
    """Collect children that ended before this image of the process was there.

    Call it before anything is started: it must not take what somebody else waits for.
    """
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            continue


def kill_tree(shim: ProcessId, run_uid: str) -> None:
    """Kill a run's processes without asking, its shim among them."""
    deadline = time.monotonic() + KILL_TIMEOUT_S
    if shim.is_alive():
        _freeze(shim, deadline)  # else it might start the script between the looks below
        while (below := descendants(shim.pid)) and time.monotonic() < deadline:
            signal_all(below, signal.SIGKILL)
            time.sleep(LOOK_S)
        _send(shim.pid, signal.SIGKILL)
    sweep(run_uid, 0.0)


def _freeze(shim: ProcessId, deadline: float) -> None:
    """Stop a shim; returns when it can start nothing more."""
    _send(shim.pid, signal.SIGSTOP)
    # D: it waits in the kernel, for a disk or for the program that it starts, and stops after it.
    while (found := process_state(shim.pid)) is not None and found[0] not in "TtDZX":
        if time.monotonic() > deadline:
            return
        time.sleep(LOOK_S)


def sweep(run_uid: str, grace_s: float, *, is_clear: bool = False) -> list[int]:
    """End the processes that an abandoned run left; return which there were.

    That is what bears its marker, and what came to this process when the shim was killed. With
    ``is_clear``, nothing should be left, and one look is enough.
    """
    looks = 1 if is_clear else ending.CLEAR_LOOKS
    orphans = OWN.end_orphans(grace_s)
    marked = ending.sweep(MARKER_VARIABLE, run_uid, grace_s, looks=looks)
    if marked:  # what had one of those as its parent has come here meanwhile
        orphans += OWN.end_orphans(0.0)
    return sorted({*orphans, *marked})


def marked_processes(run_uid: str) -> list[int]:
    """Return the living processes that bear the marker of a run."""
    return ending.marked(MARKER_VARIABLE, run_uid)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
