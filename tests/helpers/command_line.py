"""Call ``keruta`` within the test's process, in a home directory of its own."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from keruta_agent.cli import main


class Called(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


class CommandLine:
    """``keruta`` for a person with a home directory and no variables of the agent."""

    def __init__(
        self,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.home = home
        self.config = home / ".keruta" / "config.yaml"
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        for name in list(os.environ):
            if name.startswith(("KERUTA_", "CODER_")):
                monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(home))

    def __call__(self, *arguments: str, stdin: str = "") -> Called:
        """Run one command line."""
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = main.run(arguments)
        return Called(code, *self._capsys.readouterr())


@contextlib.contextmanager
def command_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    """Return what calls ``keruta``; close the databases that commands leave to a process's end."""
    yield CommandLine(home, monkeypatch, capsys)
    gc.collect()
