"""The command line, called within this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command_line import CommandLine


@pytest.fixture
def keruta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch, capsys)
