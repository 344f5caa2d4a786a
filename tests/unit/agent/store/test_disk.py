"""A full disk: distinguished from other failures, logged once, and explained."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from keruta_agent.agent.store import disk

FULL = sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("failure", "is_unwritable"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("database is locked"), False),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (ValueError("the disk is full of bugs"), False),
    ],
)
def test_full_disk_is_distinguished_from_other_failures(failure, is_unwritable):
    assert disk.is_unwritable(failure) is is_unwritable


def test_database_that_the_kernel_made_read_only_is_distinguished_from_other_failures(tmp_path):
    sqlite3.connect(tmp_path / "x.db").close()
    with contextlib.closing(
        sqlite3.connect(f"file:{tmp_path}/x.db?mode=ro", uri=True)
    ) as connection:
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("CREATE TABLE x (y)")
        assert disk.is_unwritable(caught.value)
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("SELECT nothing FROM nowhere")
        assert not disk.is_unwritable(caught.value)


def test_full_disk_is_logged_once_and_its_end_once(caplog, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(disk.time, "monotonic", lambda: now)
    caplog.set_level("INFO")
    full = disk.Disk(Path("/base"))
    for _ in range(3):
        assert full.is_unwritable(FULL)
        full.note_written()  # something small was stored in between
    now += disk.QUIET_S + 1
    full.note_written()
    full.note_written()
    assert [record.action for record in caplog.records] == ["no_room", "room_found"]


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (FULL, "Make room on the disk"),
        (sqlite3.DatabaseError("database disk image is malformed"), "restore agent.db"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
)
def test_failure_to_store_says_what_to_do(failure, text):
    assert text in str(disk.failure_to_store(failure))


class Volume:
    """A disk of 64 MB whose free space a test sets; what is stored on it is the test's business."""

    def __init__(self) -> None:
        self.free = 60_000_000

    def statvfs(self, _path: object) -> SimpleNamespace:
        blocks = self.free // 1000
        return SimpleNamespace(f_blocks=64_000, f_frsize=1000, f_bavail=blocks, f_bfree=blocks)


@pytest.fixture
def volume(monkeypatch: pytest.MonkeyPatch) -> Volume:
    volume = Volume()
    monkeypatch.setattr(disk.os, "statvfs", volume.statvfs)
    return volume


def test_reserve_takes_space_and_a_small_disk_has_a_small_one(tmp_path, volume):
    base = disk.Disk(tmp_path)
    assert base.hold_reserve()
    assert (tmp_path / disk.RESERVE_NAME).stat().st_blocks * 512 >= 4_000_000
    assert base.problem is None


def test_reserve_is_given_back_on_a_full_disk_and_taken_again(tmp_path, volume):
    base = disk.Disk(tmp_path)
    base.hold_reserve()
    volume.free = 1000
    assert base.is_full()
    base.release_reserve()
    assert not (tmp_path / disk.RESERVE_NAME).exists()
    assert not base.hold_reserve()
    assert "make room" in base.problem
    volume.free = 5_000_000
    assert not base.hold_reserve()  # it would be all that is left
    assert "nearly full" in base.problem
    volume.free = 60_000_000
    assert base.hold_reserve()
    assert base.problem is None


def test_reserve_of_an_agent_that_was_killed_is_taken_over(tmp_path, volume):
    disk.Disk(tmp_path).hold_reserve()
    volume.free = 1000
    assert disk.Disk(tmp_path).hold_reserve()


def test_disk_that_gives_less_than_it_promised_has_no_reserve(tmp_path, volume, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk.os, "posix_fallocate", refuse)
    assert not disk.Disk(tmp_path).hold_reserve()
    assert list(tmp_path.iterdir()) == []


def test_directory_that_is_gone_is_no_full_disk(tmp_path):
    assert disk.Disk(tmp_path / "gone").problem is None
