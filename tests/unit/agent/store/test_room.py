"""A full disk: told from other failures, said once, and explained."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest

from keruta_agent.agent.store import room

FULL = sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("failure", "for_want_of_room"),
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
def test_full_disk_is_told_from_other_failures(failure, for_want_of_room):
    assert room.is_wanting(failure) is for_want_of_room


def test_database_that_the_kernel_made_read_only_is_told_from_other_failures(tmp_path):
    sqlite3.connect(tmp_path / "x.db").close()
    with contextlib.closing(
        sqlite3.connect(f"file:{tmp_path}/x.db?mode=ro", uri=True)
    ) as connection:
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("CREATE TABLE x (y)")
        assert room.is_wanting(caught.value)
        with pytest.raises(sqlite3.OperationalError) as caught:
            connection.execute("SELECT nothing FROM nowhere")
        assert not room.is_wanting(caught.value)


def test_full_disk_is_said_once_and_its_end_once(caplog, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(room.time, "monotonic", lambda: now)
    caplog.set_level("INFO")
    disk = room.Room(Path("/base"))
    for _ in range(3):
        assert disk.is_wanting(FULL)
        disk.was_found()  # something small was stored in between
    now += room.QUIET_S + 1
    disk.was_found()
    disk.was_found()
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
    assert text in str(room.failure_to_store(failure))


class Disk:
    """A disk of 64 MB whose free room a test sets; what is taken on it is the test's business."""

    def __init__(self) -> None:
        self.free = 60_000_000

    def statvfs(self, _path: object) -> SimpleNamespace:
        blocks = self.free // 1000
        return SimpleNamespace(f_blocks=64_000, f_frsize=1000, f_bavail=blocks, f_bfree=blocks)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(room.os, "statvfs", disk.statvfs)
    return disk


def test_reserve_takes_room_and_a_small_disk_has_a_small_one(tmp_path, disk):
    held = room.Room(tmp_path)
    assert held.hold_reserve()
    assert (tmp_path / room.RESERVE_NAME).stat().st_blocks * 512 >= 4_000_000
    assert held.problem is None


def test_reserve_is_given_back_on_a_full_disk_and_taken_again(tmp_path, disk):
    held = room.Room(tmp_path)
    held.hold_reserve()
    disk.free = 1000
    assert held.is_full()
    held.give_back_reserve()
    assert not (tmp_path / room.RESERVE_NAME).exists()
    assert not held.hold_reserve()
    assert "make room" in held.problem
    disk.free = 5_000_000
    assert not held.hold_reserve()  # it would be all that is left
    assert "nearly full" in held.problem
    disk.free = 60_000_000
    assert held.hold_reserve()
    assert held.problem is None


def test_reserve_of_an_agent_that_was_killed_is_taken_over(tmp_path, disk):
    room.Room(tmp_path).hold_reserve()
    disk.free = 1000
    assert room.Room(tmp_path).hold_reserve()


def test_disk_that_gives_less_than_it_promised_has_no_reserve(tmp_path, disk, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(room.os, "posix_fallocate", refuse)
    assert not room.Room(tmp_path).hold_reserve()
    assert list(tmp_path.iterdir()) == []


def test_directory_that_is_gone_is_no_full_disk(tmp_path):
    assert room.Room(tmp_path / "gone").problem is None
