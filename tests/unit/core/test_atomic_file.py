"""A file is there whole, with its permissions, or as it was before."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from keruta_agent.core import atomic_file


def test_permissions_stay_unless_others_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    file.chmod(0o640)
    atomic_file.write(file, b"after")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"after", 0o640)
    atomic_file.write(file, b"again", mode=0o700)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"again", 0o700)


def test_nothing_is_left_of_a_file_that_cannot_be_put_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inner").touch()
    with pytest.raises(OSError, match="irectory"):
        atomic_file.write(tmp_path / "file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
