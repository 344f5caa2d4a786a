"""The daemon's log file loses no line when it is rotated, by us or by others."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.core.log import logs
from keruta_agent.core.log.log_file import LogFile, Rotation

DAY = 86_400.0


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., LogFile]]:
    handlers = []

    def open_file(name: str = "daemon.log", **rotation: float) -> LogFile:
        handler = LogFile(tmp_path / name, Rotation(**rotation))
        handlers.append(handler)
        return handler

    yield open_file
    for handler in handlers:
        handler.close()


def say(handler: LogFile, text: str) -> None:
    handler.handle(logging.LogRecord("test", logging.INFO, "", 0, text, None, None))


def number_of(path: Path) -> int:
    return int(path.suffix[1:]) if path.suffix[1:].isdigit() else 0


def all_lines(directory: Path) -> list[str]:
    files = sorted(directory.glob("daemon.log*"), key=number_of, reverse=True)
    return [line for path in files for line in path.read_text().splitlines()]


def test_file_gives_way_at_its_size_and_no_line_is_lost(opened, tmp_path):
    handler = opened(max_bytes=1000, backups=50)
    wanted = [f"line {number:03d} {'x' * (number % 40)}" for number in range(300)]
    threads = [
        threading.Thread(target=lambda part=part: [say(handler, line) for line in wanted[part::3]])
        for part in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = list(tmp_path.iterdir())
    assert sorted(all_lines(tmp_path)) == sorted(wanted)
    assert len(files) > 5
    assert all(path.stat().st_size <= 1000 for path in files)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_only_so_many_old_files_are_kept(opened, tmp_path):
    handler = opened(max_bytes=100, backups=2)
    for number in range(50):
        say(handler, f"line {number}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "daemon.log",
        "daemon.log.1",
        "daemon.log.2",
    ]


@pytest.mark.parametrize(
    "first",
    [
        "2001-02-03 04:05:06,789 INFO    begins",
        '{"levelname": "INFO", "timestamp": "2001-02-03T04:05:06.789+00:00"}',
    ],
)
def test_file_gives_way_at_its_age_also_to_a_later_daemon(opened, tmp_path, first):
    (tmp_path / "daemon.log").write_text(f"{first}\n")
    handler = opened(max_age_s=DAY)
    say(handler, "one")
    say(handler, "two")
    assert (tmp_path / "daemon.log.1").read_text() == f"{first}\n"
    assert (tmp_path / "daemon.log").read_text() == "one\ntwo\n"


def test_young_file_goes_on(opened, tmp_path):
    (tmp_path / "daemon.log").write_text("no date here\n")
    say(opened(max_age_s=DAY), "one")
    assert (tmp_path / "daemon.log").read_text() == "no date here\none\n"


def test_old_file_goes_on_when_nothing_is_to_rotate_it(opened, tmp_path):
    (tmp_path / "daemon.log").write_text("2001-02-03 04:05:06 old\n")
    handler = opened(max_bytes=0, max_age_s=0)
    for _ in range(50):
        say(handler, "x" * 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["daemon.log"]


def test_line_after_the_file_was_moved_away_goes_to_a_new_one(opened, tmp_path):
    handler = opened()
    say(handler, "one")
    (tmp_path / "daemon.log").rename(tmp_path / "moved")
    say(handler, "two")
    (tmp_path / "daemon.log").unlink()
    say(handler, "three")
    assert (tmp_path / "moved").read_text() == "one\n"
    assert (tmp_path / "daemon.log").read_text() == "three\n"


def test_file_that_cannot_be_rotated_is_written_to_all_the_same(
    opened, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    handler = opened(max_bytes=50)

    def fail(*arguments: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "rename", fail)
    for number in range(20):
        say(handler, f"line {number}")
    assert (tmp_path / "daemon.log").read_text().splitlines() == [f"line {n}" for n in range(20)]


def test_what_is_no_file_is_never_rotated(opened, tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    handler = opened("null", max_bytes=10, max_age_s=0.001)
    for _ in range(5):
        say(handler, "x" * 100)
    assert (tmp_path / "null").readlink() == Path("/dev/null")


def test_log_is_opened_anew_on_demand(tmp_path):
    file = tmp_path / "daemon.log"
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        logs.set_up(level="INFO", format="text", file=file)
        file.rename(tmp_path / "moved")
        logs.reopen()
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text() == ""
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
