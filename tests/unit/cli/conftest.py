"""The command line, called within this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_line import CommandLine


@pytest.fixture
def keruta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    yield CommandLine(tmp_path, monkeypatch, capsys)
    gc.collect()  # closes databases that a command left to the end of its process
