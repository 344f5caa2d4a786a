"""The artifacts directory belongs to one agent at a time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.journey.artifacts.directory import OWNER_NAME, ArtifactsDirectories
from keruta_agent.agent.run.directory import RunDirectory

#: Holds a directory in a process of its own, until its input ends.
_HOLDER = """
import sys
from pathlib import Path
from keruta_agent.agent.journey.artifacts.directory import ArtifactsDirectories
from keruta_agent.agent.run.directory import RunDirectory

shared, base, run = map(Path, sys.argv[1:])
found = ArtifactsDirectories("other", base).choose(shared, base / "work", RunDirectory(run))
print(found, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def _other_agent(shared: Path, base: Path, run: Path) -> Iterator[Path]:
    command = [sys.executable, "-c", _HOLDER, str(shared), str(base), str(run)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Path(process.stdout.readline().strip())
        process.kill()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "doc"


def _choose(tmp_path: Path, shared: Path, directories: ArtifactsDirectories | None = None) -> Path:
    mine = directories or ArtifactsDirectories("mine", tmp_path / "base")
    return mine.choose(shared, tmp_path / "work", RunDirectory(tmp_path / "run"))


def test_single_agent_has_the_configured_directory_run_after_run(
    tmp_path: Path, shared: Path
) -> None:
    mine = ArtifactsDirectories("mine", tmp_path / "base")
    assert [_choose(tmp_path, shared, mine) for _ in range(2)] == [shared, shared]
    assert not (tmp_path / "work").exists(), "nothing else is made"
    (shared / OWNER_NAME).unlink()
    assert _choose(tmp_path, shared, mine) == shared


def test_second_agent_gets_another_directory_and_says_so_once(
    tmp_path: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = ArtifactsDirectories("mine", tmp_path / "base")
    with _other_agent(shared, tmp_path / "other", tmp_path / "gone") as theirs:
        assert theirs == shared
        for _ in range(2):
            assert _choose(tmp_path, shared, mine) == tmp_path / "work" / ".keruta" / "doc"
    assert len(caplog.records) == 1


def test_agents_that_share_their_working_directory_too_have_directories_of_their_own(
    tmp_path: Path, shared: Path
) -> None:
    with (
        _other_agent(shared, tmp_path / "other", tmp_path / "gone"),
        _other_agent(tmp_path / "work" / ".keruta" / "doc", tmp_path / "third", tmp_path / "gone"),
    ):
        assert _choose(tmp_path, shared) == tmp_path / "base" / "doc"


def test_directory_is_not_taken_while_a_script_of_a_killed_agent_writes_there(
    tmp_path: Path, shared: Path
) -> None:
    run = RunDirectory(tmp_path / "their-run")
    run.create()
    stat = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    pid = Path("/proc/self").resolve().name
    run.identity.write_text(f"{pid} {stat[19]} {boot}\n", encoding="ascii")
    with _other_agent(shared, tmp_path / "other", run.path):
        pass

    assert _choose(tmp_path, shared) != shared
    run.identity.unlink()
    assert _choose(tmp_path, shared) == shared


@pytest.mark.parametrize("mark", ["", "no JSON", "[]", '{"agent": 1, "run": null}', "{" * 9999])
def test_mark_that_a_script_wrote_holds_nobody_up(tmp_path: Path, shared: Path, mark: str) -> None:
    shared.mkdir()
    (shared / OWNER_NAME).write_text(mark, encoding="ascii")
    assert _choose(tmp_path, shared) == shared


def test_mark_is_never_written_through_a_link(tmp_path: Path, shared: Path) -> None:
    shared.mkdir()
    (tmp_path / "precious").write_text("precious", encoding="ascii")
    (shared / OWNER_NAME).symlink_to(tmp_path / "precious")

    assert _choose(tmp_path, shared) != shared
    assert (tmp_path / "precious").read_text(encoding="ascii") == "precious"


def test_directory_that_a_script_replaced_by_a_link_is_not_used_for_the_next(
    tmp_path: Path, shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mine = ArtifactsDirectories("mine", tmp_path / "base")
    assert _choose(tmp_path, shared, mine) == shared
    shared.rename(tmp_path / "aside")
    shared.symlink_to(elsewhere)
    for _ in range(2):
        assert _choose(tmp_path, shared, mine) == tmp_path / "work" / ".keruta" / "doc"
    assert list(elsewhere.iterdir()) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    shared.unlink()
    assert _choose(tmp_path, shared, mine) == shared
    # Who made the link says so by a restart.
    (shared / OWNER_NAME).unlink()
    shared.rmdir()
    shared.symlink_to(elsewhere)
    again = ArtifactsDirectories("mine", tmp_path / "base")
    assert _choose(tmp_path, shared, again) == shared
