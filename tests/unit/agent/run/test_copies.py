"""Copies are whole, consistent, and leave room on the disk."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.run.artifacts import copies


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    file = tmp_path / "source"
    file.write_bytes(b"x" * 3_000_000)
    descriptor = os.open(file, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("durable", [False, True])
def test_copy_has_the_bytes_and_their_hash(tmp_path: Path, source: int, durable: bool) -> None:
    copy = copies.take(source, tmp_path / "to", "報告 2026.pdf", durable=durable)
    content = copy.file.read_bytes()
    assert content == b"x" * 3_000_000
    assert (copy.size, copy.sha256) == (3_000_000, hashlib.sha256(content).hexdigest())
    assert not copy.was_written_to
    assert copy.file.name.endswith("-報告_2026.pdf")
    assert copy.file.stat().st_mode & 0o077 == 0
    assert [each.name for each in (tmp_path / "to").iterdir()] == [copy.file.name]


def test_two_copies_of_one_name_do_not_meet(tmp_path: Path, source: int) -> None:
    first, second = (copies.take(source, tmp_path / "to", "x") for _ in range(2))
    assert first.file != second.file


@pytest.mark.parametrize("name", ["\n" * 300, "名" * 300, "\udc82", "..", "𠮷" * 300])
def test_any_name_makes_a_file_name(tmp_path: Path, source: int, name: str) -> None:
    copy = copies.take(source, tmp_path / "to", name)
    assert copy.file.parent == tmp_path / "to"
    assert copy.file.is_file()


def test_file_that_grows_is_taken_as_it_was_at_one_moment(
    tmp_path: Path, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.pread
    grown = []

    def growing(descriptor: int, size: int, offset: int) -> bytes:
        if offset == 0:
            grown.append(True)
            with (tmp_path / "source").open("ab") as file:
                file.write(b"y" * 1000)
        return read(descriptor, size, offset)

    monkeypatch.setattr(copies.os, "pread", growing)
    copy = copies.take(source, tmp_path / "to", "x")
    assert copy.was_written_to
    assert len(grown) == copies.ATTEMPTS
    content = copy.file.read_bytes()
    assert content == b"x" * 3_000_000 + b"y" * (copy.size - 3_000_000)
    assert copy.sha256 == hashlib.sha256(content).hexdigest()


def test_file_that_was_written_to_once_is_read_again(
    tmp_path: Path, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.pread
    rewritten = []

    def rewriting(descriptor: int, size: int, offset: int) -> bytes:
        if offset and not rewritten:
            rewritten.append(True)
            (tmp_path / "source").write_bytes(b"new")
        return read(descriptor, size, offset)

    monkeypatch.setattr(copies.os, "pread", rewriting)
    copy = copies.take(source, tmp_path / "to", "x")
    assert copy.file.read_bytes() == b"new"
    assert not copy.was_written_to


def test_disk_without_room_is_found_out_before_it_is_full(
    tmp_path: Path, source: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "RESERVE_BYTES", 2**60)
    with pytest.raises(OSError) as caught:
        copies.take(source, tmp_path / "to", "x")
    assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "to").iterdir()) == []
