"""Whether memory ran out, by the kernel's own counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.resources import memory

KILLED = ExitRecord(signal=9, started_at=0, ended_at=1)
BELOW_SHELL = ExitRecord(exit_code=137, started_at=0, ended_at=1)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The count of our control group, as a file of the test."""
    path = tmp_path / "memory.events"
    path.write_text("low 0\nhigh 0\noom 0\noom_kill 2\noom_group_kill 0\n")
    monkeypatch.setattr(memory, "_group_counters", lambda: [path])
    return path


@pytest.mark.parametrize("record", [KILLED, BELOW_SHELL], ids=["script", "child of a shell"])
def test_kill_with_a_count_that_grew_is_for_want_of_memory(directory, counter, record):
    memory.remember_before(directory)
    counter.write_text("oom_kill 3\n")
    assert memory.ran_out(directory, record)


@pytest.mark.parametrize("record", [KILLED, BELOW_SHELL])
def test_kill_with_the_same_count_was_somebody_else(directory, counter, record):
    memory.remember_before(directory)
    assert not memory.ran_out(directory, record)


@pytest.mark.parametrize(
    "record",
    [
        ExitRecord(exit_code=0, started_at=0, ended_at=1),
        ExitRecord(exit_code=1, started_at=0, ended_at=1),
        ExitRecord(signal=15, started_at=0, ended_at=1),
    ],
)
def test_end_that_is_no_kill_is_none_for_want_of_memory_either(directory, counter, record):
    memory.remember_before(directory)
    counter.write_text("oom_kill 9\n")
    assert not memory.ran_out(directory, record)


@pytest.mark.parametrize("note", [None, "", "many\n"])
def test_nothing_is_claimed_without_the_count_from_before(directory, counter, note):
    if note is not None:
        (directory.path / memory.BEFORE).write_text(note)
    counter.write_text("oom_kill 9\n")
    assert not memory.ran_out(directory, KILLED)


def test_count_of_the_machine_is_used_where_the_group_has_none(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_group_counters", lambda: [tmp_path / "missing"])
    machine = memory._count(Path("/proc/vmstat"), "oom_kill") or 0
    assert memory.kills() >= machine
    assert memory._count(tmp_path / "missing", "oom_kill") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0::/user.slice/a.scope", "/sys/fs/cgroup/user.slice/a.scope/memory.events"),
        ("0::/", "/sys/fs/cgroup/memory.events"),
        ("9:memory:/docker/x", "/sys/fs/cgroup/memory/docker/x/memory.oom_control"),
        ("4:cpu,memory:/y", "/sys/fs/cgroup/memory/y/memory.oom_control"),
        ("3:cpu,cpuacct:/z", None),
    ],
)
def test_counter_of_our_group_is_found_in_both_versions(monkeypatch, line, expected):
    read = Path.read_text

    def fake(self: Path, *args: object, **kwargs: object) -> str:
        return f"{line}\n" if self == Path("/proc/self/cgroup") else read(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", fake)
    assert [str(path) for path in memory._group_counters()] == ([expected] if expected else [])
