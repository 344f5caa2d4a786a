"""``keruta artifact add`` inside a run, where the machine does not play along."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.agent.run.artifacts import copies
from keruta_agent.cli import main


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose daemon is away."""
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "agent").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERUTA_RUN_TOKEN", "t")
    monkeypatch.setenv("KERUTA_TASK_ID", "t1")
    monkeypatch.setenv("KERUTA_RUN_DIR", str(directory))
    monkeypatch.setenv("KERUTA_SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setenv("KERUTA_MAX_FILE_SIZE", "1000B")
    (tmp_path / "file").write_text("x")
    return directory


def test_file_waits_in_the_run_directory_while_no_daemon_answers(run_dir: Path) -> None:
    assert main.run(["artifact", "add", "file"]) == 0
    (copy,) = (run_dir / "added").iterdir()
    assert copy.read_text() == "x"
    assert copy.name in (run_dir / "agent").read_text()


def test_want_of_room_is_said_before_the_disk_is_full(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(copies, "RESERVE_BYTES", 2**60)
    assert main.run(["artifact", "add", "file"]) == 1
    said = capsys.readouterr().err
    assert "cannot keep a copy of file: No space left on device" in said
    assert said.count("\n") == 1
    assert list((run_dir / "added").iterdir()) == []


def test_file_that_the_kernel_makes_up_is_refused_rather_than_stored_empty(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["artifact", "add", "/proc/self/status"]) == 2
    assert "/proc/self/status has no size of its own" in capsys.readouterr().err
    assert not (run_dir / "added").exists()


def test_run_that_is_over_and_cleared_away_takes_nothing(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "agent").unlink()
    run_dir.rmdir()
    assert main.run(["artifact", "add", "file"]) == 4
    assert "the directory of this run is gone" in capsys.readouterr().err
    assert not run_dir.exists()


def test_copy_is_not_left_when_nobody_can_be_informed(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "agent").unlink()
    assert main.run(["artifact", "add", "file"]) == 4
    assert list((run_dir / "added").iterdir()) == []


def test_file_that_grew_is_announced(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = copies._copy

    def growing(source: int, target: int, size: int) -> tuple[int, str]:
        with Path("file").open("a") as file:
            file.write("more")
        return copy(source, target, size)

    monkeypatch.setattr(copies, "_copy", growing)
    assert main.run(["artifact", "add", "file"]) == 0
    assert "was written to meanwhile: its first 9 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "path"),
    [("a//b/./c", "a/b/c"), ("報告.txt", "報告.txt"), ("..a/b..", "..a/b..")],
)
def test_name_is_the_path_under_which_it_is_stored(run_dir: Path, name: str, path: str) -> None:
    import json

    assert main.run(["artifact", "add", "file", "--name", name]) == 0
    assert json.loads((run_dir / "agent").read_text())["path"] == path
