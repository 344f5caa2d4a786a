"""A login counts from its beginning to its end, whatever happens to the process and the disk."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from keruta_agent.http.pages import live_logins
from keruta_agent.http.pages.live_logins import LiveLogins

LATER = int(time.time()) + 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pages.logins"


def test_login_counts_until_it_ends_or_its_time_is_over(path: Path) -> None:
    logins = LiveLogins(path, realm="r")
    logins.begin("one", LATER)
    logins.begin("two", LATER)
    logins.begin("old", int(time.time()) - 1)

    logins.end("one")

    assert [logins.is_live(name) for name in ("one", "two", "old", "none")] == [
        False,
        True,
        False,
        False,
    ]


def test_restart_keeps_logins_and_logouts_and_the_file_is_private(path: Path) -> None:
    logins = LiveLogins(path, realm="r")
    for name in ("one", "two"):
        logins.begin(name, LATER)
    logins.end("one")

    again = LiveLogins(path, realm="r")

    assert (again.is_live("one"), again.is_live("two")) == (False, True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "two" not in path.read_text()
    assert {left.name for left in path.parent.iterdir()} == {path.name, f"{path.name}.lock"}


def test_logout_in_one_process_counts_in_another(path: Path) -> None:
    first, second = LiveLogins(path, realm="r"), LiveLogins(path, realm="r")
    first.begin("one", LATER)
    second.begin("two", LATER)
    assert first.is_live("two") and second.is_live("one")

    second.end("one")

    assert not first.is_live("one")


def test_nobody_waits_for_a_login_that_a_slow_disk_stores(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = LiveLogins(path, realm="r")
    logins.begin("one", LATER)
    assert logins.is_live("one")
    is_storing, may_go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        is_storing.set()
        assert may_go_on.wait(60)

    monkeypatch.setattr(live_logins.os, "fsync", slow)
    storing = threading.Thread(target=logins.begin, args=("two", LATER))
    storing.start()
    try:
        assert is_storing.wait(60)
        assert (logins.is_live("one"), logins.is_live("two")) == (True, False)
    finally:
        may_go_on.set()
        storing.join()
    assert logins.is_live("two")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"realm": "r", "logins": {"x": "y"}}', "9" * 9]
)
def test_file_that_makes_no_sense_ends_all_logins(path: Path, content: str) -> None:
    logins = LiveLogins(path, realm="r")
    logins.begin("one", LATER)

    path.write_text(content)

    assert not logins.is_live("one")
    logins.begin("two", LATER)
    assert logins.is_live("two")


def test_another_realm_ends_all_logins_for_good(path: Path) -> None:
    LiveLogins(path, realm="old token").begin("one", LATER)
    LiveLogins(path, realm="new token")

    assert not LiveLogins(path, realm="old token").is_live("one")


def test_logins_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_logins, "MOST", 3)
    logins = LiveLogins(path, realm="r")
    for number in range(4):
        logins.begin(str(number), LATER + number)

    assert [logins.is_live(str(number)) for number in range(4)] == [False, True, True, True]


def test_logout_on_a_full_disk_ends_all_logins(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logins = LiveLogins(path, realm="r")
    for name in ("one", "two"):
        logins.begin(name, LATER)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(live_logins.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):  # nor is a login begun that would not last
            logins.begin("three", LATER)
        assert not logins.is_live("three")
        patch.setattr(live_logins.os, "fsync", _full_for_files(full))
        logins.end("one")

    again = LiveLogins(path, realm="r")
    assert [again.is_live(name) for name in ("one", "two", "three")] == [False, False, False]
    assert "all logins have ended" in caplog.text


def _full_for_files(full):  # type: ignore[no-untyped-def]
    def sync(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            full(descriptor)

    return sync
