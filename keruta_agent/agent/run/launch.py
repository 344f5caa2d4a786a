"""The start of a run's shim with sh, detached from the daemon.

What is handed to sh here is chosen by measurement, and by sh's source: ``_in`` always (without it
sh keeps a thread that polls stdin and delays every start by 100 ms), never ``_timeout`` (another
100 ms) and never callbacks (they lose output).
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import sh

from keruta_agent.agent.run import exit_record, shim
from keruta_agent.agent.run.directory import ProcessId, RunDirectory
from keruta_agent.core import errors
from keruta_agent.core.boot_clock import boot_id, boot_seconds
from keruta_agent.core.process_tree.channel import private_pipe
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.process_tree.proc import process_state

Stdin = Literal["none", "fifo", "terminal"]
#: Seconds that a dismissed shim may take to end, and between looks at it.
DISMISSAL_S: Final = 2.0
LOOK_INTERVAL_S: Final = 0.01


class NeverStartedError(errors.RunError):
    """A script was not started, and never will be: this is certain."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """All that is needed to start a script."""

    directory: RunDirectory
    command: Sequence[str]
    working_directory: Path
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    #: Seconds between SIGTERM and SIGKILL when the run's processes are stopped.
    grace_s: float
    #: What the script reads: nothing, or answers (RunDirectory.answer) from a pipe, or from a
    #: terminal, which takes all its output as well (into ``stdout``).
    stdin: Stdin = "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commitment:
    """What is to be stored before a script can start: by this its shim and its end are known."""

    shim: ProcessId
    #: SHA-256 of the secret that proves the exit record.
    digest: str
    #: Seconds since boot.
    launched_at: float


class Launcher:
    """The launcher of scripts, which keeps one shim ready for the next."""

    def __init__(self) -> None:
        self._spare: _Shim | None = None

    def prepare(self) -> None:
        """Start a shim ahead of its time, if none waits.

        Raises:
            RunError: no process can be made.
        """
        if self._spare is None or not self._spare.process.is_alive():
            self.close()
            self._spare = _spawn()

    def start(self, plan: LaunchPlan, store: Callable[[Commitment], None]) -> ProcessId:
        """Start the script below a shim and return the shim; ``store`` is called before that.

        Raises:
            RunError: no process can be made.
        """
        shim, self._spare = self._spare, None
        if shim is not None and shim.process.is_alive() and shim.hand_over(plan, store):
            return shim.process
        shim = _spawn()
        if not shim.hand_over(plan, store):
            raise NeverStartedError("the process that was to start the script has vanished")
        return shim.process

    def close(self) -> None:
        """Dismiss the waiting shim; return when it has ended."""
        spare, self._spare = self._spare, None
        if spare is None:
            return
        spare.dismiss()
        deadline = time.monotonic() + DISMISSAL_S
        while spare.process.is_alive() and time.monotonic() < deadline:
            time.sleep(LOOK_INTERVAL_S)


class _Shim:
    """A shim that waits for its instructions."""

    def __init__(self, process: ProcessId, instructions: int) -> None:
        self.process = process
        self._instructions = instructions

    def hand_over(self, plan: LaunchPlan, store: Callable[[Commitment], None]) -> bool:
        """Send the shim its order; return whether it was received."""
        secret = exit_record.make_secret()
        try:
            with os.fdopen(self._instructions, "wb") as pipe:
                digest = exit_record.digest_of(secret)
                store(Commitment(shim=self.process, digest=digest, launched_at=boot_seconds()))
                pipe.write(_instructions(plan, secret))
        except BrokenPipeError:
            return False
        return True

    def dismiss(self) -> None:
        """Dismiss the shim without an order."""
        os.close(self._instructions)


def _spawn() -> _Shim:
    try:
        reading, writing = private_pipe()
    except OSError as exc:
        raise NeverStartedError(f"cannot start a process for the script: {exc}") from exc
    try:
        with (
            os.fdopen(reading, "rb") as instructions,
            Path(os.devnull).open("wb") as nowhere,
            OWN.starting(),
        ):
            process = sh.Command(sys.executable)(
                "-I",
                "-S",
                shim.__file__,
                _env={},
                _in=instructions,
                _out=nowhere,
                _err=nowhere,
                _bg=True,
                _bg_exc=False,
                _return_cmd=True,
                _new_session=True,
                _tty_out=False,
            )
            pid = int(process.pid)
            OWN.started(pid)
        found = process_state(pid)
    except (sh.ForkException, sh.CommandNotFound, OSError) as exc:
        os.close(writing)
        # sh's own text holds the whole command line; the cause is enough.
        raise NeverStartedError(f"cannot start a process for the script: {_cause(exc)}") from None
    if found is None:
        os.close(writing)
        raise NeverStartedError("the process that was to start the script has vanished")
    return _Shim(ProcessId(pid=pid, start_time=found[1], boot_id=boot_id()), writing)


def _instructions(plan: LaunchPlan, secret: str) -> bytes:
    """Write what a shim is to do: fields with NUL between them, which none can hold."""
    fields: list[str | Path] = [
        secret,
        plan.directory.path,
        plan.working_directory,
        str(plan.grace_s),
        plan.stdin,
        str(len(plan.command)),
        *plan.command,
        *(f"{name}={value}" for name, value in plan.environment.items()),
    ]
    return b"\0".join([shim.WITH_SECRET, *(os.fsencode(field) for field in fields), shim.END])


def _cause(exc: Exception) -> str:
    text = str(exc).strip()
    return text.splitlines()[-1].strip() if text else type(exc).__name__
