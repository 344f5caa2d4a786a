"""The command line, called within this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_line import CommandLine, command_line


@pytest.fixture
def keruta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    with command_line(tmp_path, monkeypatch, capsys) as keruta:
        yield keruta
