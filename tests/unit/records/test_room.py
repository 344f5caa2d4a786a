"""A full disk: told from other failures, said once, and explained."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path

import pytest

from keruta_agent.records import room

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
