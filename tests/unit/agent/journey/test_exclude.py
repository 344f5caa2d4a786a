"""Artifacts stay out of commits, whatever kind of work tree they lie in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from keruta_agent.agent.journey.artifacts import exclude
from keruta_agent.agent.workspace import exclude as workspace_exclude
from keruta_agent.core import atomic_file


def git(*arguments: str, at: Path) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(at),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "x"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    command = ["git", "-C", str(at), *arguments]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git("init", "-q", at=root)
    git("commit", "-q", "--allow-empty", "-m", "first", at=root)
    return root


def leave(directory: Path) -> None:
    directory.mkdir(parents=True)
    (directory / "file").write_text("x")
    exclude.keep_out_of_commits(directory)


@pytest.mark.parametrize(
    "place", [".keruta/doc", "sub/.keruta/doc", "out put/[a]*", "#out", "!out ", "成果物"]
)
def test_artifacts_are_not_seen_by_git(repository: Path, place: str) -> None:
    leave(repository / place)
    assert git("status", "--porcelain", at=repository) == ""


def test_line_is_written_once_and_the_others_stay(repository: Path) -> None:
    file = repository / ".git" / "info" / "exclude"
    file.write_text("# mine\n*.log")
    file.chmod(0o640)
    leave(repository / ".keruta" / "doc")
    exclude.keep_out_of_commits(repository / ".keruta" / "doc")
    assert file.read_text() == f"# mine\n*.log\n{workspace_exclude.MARK}\n/.keruta/doc/\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in (file.parent).iterdir()] == ["exclude"]


def test_linked_work_tree_is_found(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git("worktree", "add", "-q", str(tree), at=repository)
    leave(tree / ".keruta" / "doc")
    assert git("status", "--porcelain", at=tree) == ""
    assert "/.keruta/doc/" in (repository / ".git" / "info" / "exclude").read_text()


def test_only_the_innermost_work_tree_is_changed(repository: Path) -> None:
    before = (repository / ".git" / "info" / "exclude").read_text()
    inner = repository / "inner"
    inner.mkdir()
    git("init", "-q", at=inner)
    leave(inner / ".keruta" / "doc")
    assert git("status", "--porcelain", at=inner) == ""
    assert (repository / ".git" / "info" / "exclude").read_text() == before


def test_directory_outside_of_any_work_tree_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # none: it has no HEAD
    leave(tmp_path / "out")
    assert list((tmp_path / ".git").iterdir()) == []


def test_pointer_to_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /etc\n")
    leave(tmp_path / "out")
    assert not Path("/etc/info").exists()


def test_file_that_cannot_be_written_costs_a_warning_only(
    repository: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic_file, "write", fails)
    leave(repository / "out")
    assert "out of git's commits" in caplog.text
