"""Start shims from a test's own process without a fork of it.

``sh`` forks whoever calls it, and to copy the memory map of a process that has collected all tests
takes twenty times as long as the rest of a start. Agents in processes of their own (the acceptance
tests), and the tests of the shim, start theirs with ``sh``.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping
from typing import IO

import pytest

from keruta_agent.agent.run import launch


class Command:
    """What the launcher uses of ``sh.Command``."""

    def __init__(self, program: str) -> None:
        self._program = program

    def __call__(
        self,
        *arguments: str,
        _env: Mapping[str, str],
        _in: IO[bytes],
        _out: IO[bytes],
        _err: IO[bytes],
        _new_session: bool,
        **_how_sh_waits: bool,
    ) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [self._program, *arguments],
            env=_env,
            stdin=_in,
            stdout=_out,
            stderr=_err,
            start_new_session=_new_session,
        )
        # As sh does, so that no zombie is taken for a shim that lives.
        threading.Thread(target=started.wait, daemon=True).start()
        return started


def start_without_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the launchers of a test start shims so."""
    monkeypatch.setattr(launch.sh, "Command", Command)
