"""Starts a run's shim with sh, detached from the daemon.

What is handed to sh here is chosen by measurement (libraries.md of the design, and sh's source):
``_in`` always (without it sh keeps a thread that polls stdin and delays every start by 100 ms),
never ``_timeout`` (another 100 ms) and never callbacks (they lose output).
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import sh

from keruta_agent import errors
from keruta_agent.runs import shim
from keruta_agent.runs.directory import RunDirectory

PR_SET_CHILD_SUBREAPER: Final = 36
#: Loaded here, not after the fork: the child must do as little as it can.
_LIBC: Final = ctypes.CDLL(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """All that is needed to start a script."""

    directory: RunDirectory
    command: Sequence[str]
    working_directory: Path
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    #: Seconds between SIGTERM and SIGKILL when the run's processes are stopped.
    grace_s: float


def launch(plan: LaunchPlan) -> int:
    """Starts the shim, which starts the script, and returns the shim's pid.

    Raises:
        RunError: the shim could not be started.
    """
    with (
        Path(os.devnull).open("rb") as nothing,
        (plan.directory.path / "shim.err").open("ab") as complaints,
    ):
        try:
            process = sh.Command(sys.executable)(
                "-I",
                "-S",
                shim.__file__,
                str(plan.directory.path),
                str(plan.working_directory),
                str(plan.grace_s),
                *plan.command,
                _env=dict(plan.environment),
                _in=nothing,
                _out=complaints,
                _err=complaints,
                _bg=True,
                _bg_exc=False,
                _return_cmd=True,
                _new_session=True,
                _tty_out=False,
                _preexec_fn=_become_subreaper,
            )
        except (sh.ForkException, sh.CommandNotFound, OSError) as exc:
            # sh's own text holds the whole command line; the cause is enough.
            raise errors.RunError(f"cannot start a process for the script: {_cause(exc)}") from None
    return int(process.pid)


def _become_subreaper() -> None:
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _cause(exc: Exception) -> str:
    text = str(exc).strip()
    return text.splitlines()[-1].strip() if text else type(exc).__name__
