"""Stops what `keruta demo --keep` left running: server, daemon, scripts, files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keruta_agent import errors, file_trees
from keruta_agent.cli.demo_processes import GRACE_S, LOOK_S, end_scripts
from keruta_agent.records.clock import boot_id
from keruta_agent.runs.directory import ProcessId, process_state

#: The daemon and the server, in this order, so that nobody else's process is ended for them.
PROCESSES: Final = "processes.json"
#: Requests after which a process is killed: a daemon finishes its job, stops it, leaves.
REQUESTS: Final = 3


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
