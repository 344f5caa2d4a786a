"""Nothing outside of the directory is read through it, whatever stands in it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from keruta_agent.agent.run.artifacts import tree
from keruta_agent.agent.run.artifacts.tree import Entry, LeadsOutError, TooDeepError, entries_below


def _contents(root: Path) -> dict[str, bytes | None]:
    found: dict[str, bytes | None] = {}
    for entry in entries_below(root):
        assert isinstance(entry, Entry)
        descriptor = entry.open()
        found[entry.path] = None
        if descriptor is not None:
            with os.fdopen(descriptor, "rb") as file:
                found[entry.path] = file.read()
    return found


def test_files_come_sorted_with_their_relative_paths(tmp_path: Path) -> None:
    for path in ("b/2", "b/1", "a", "b/c/3"):
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).write_text(path)
    assert list(_contents(tmp_path)) == ["a", "b/1", "b/2", "b/c/3"]


def test_what_has_no_content_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    with pytest.raises(LeadsOutError):
        _contents(tmp_path)
    (tmp_path / "device").unlink()
    assert _contents(tmp_path) == {"fifo": None, "socket": None}


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "in/../../outside", "in/up"])
def test_link_that_leads_out_is_refused(tmp_path: Path, target: str) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (root / "in" / "up").symlink_to("../../outside")
    (root / "link").symlink_to(target)
    opened = (
        entry.open()
        for entry in entries_below(root)
        if isinstance(entry, Entry) and entry.path == "link"
    )
    with pytest.raises(LeadsOutError):
        next(opened)


def test_directory_beside_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root-other").mkdir()
    (tmp_path / "root-other" / "f").write_text("secret")
    (tmp_path / "root" / "link").symlink_to("../root-other/f")
    with pytest.raises(LeadsOutError):
        _contents(tmp_path / "root")


def test_file_that_becomes_a_link_between_look_and_opening_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    victim = tmp_path / "root" / "file"
    victim.write_text("mine")
    (tmp_path / "secret").write_text("secret")
    original = os.open

    def swap(path, flags, *args, **kwargs):
        if path == "file":
            victim.unlink()
            victim.symlink_to("../secret")
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(tree.os, "open", swap)
    assert _contents(tmp_path / "root") == {"file": None}


def test_directory_that_becomes_a_link_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "root" / "folder"
    folder.mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "key").write_text("secret")
    original = os.open

    def swap(path, flags, *args, **kwargs):
        if path == "folder" and folder.is_dir() and not folder.is_symlink():
            folder.rmdir()
            folder.symlink_to("../private")
        return original(path, flags, *args, **kwargs)

    monkeypatch.setattr(tree.os, "open", swap)
    with pytest.raises(LeadsOutError):  # it is judged as the link that it is by then
        _contents(tmp_path / "root")


def test_too_many_directories_are_not_entered_and_no_descriptor_is_left(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    deep = tmp_path.joinpath(*["d"] * (tree.DEEPEST + 1))
    deep.mkdir(parents=True)
    (deep / "f").write_text("x")
    (found,) = entries_below(tmp_path)
    assert isinstance(found, TooDeepError)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert list(entries_below(tmp_path / "none")) == []
    assert list(entries_below(tmp_path / "file")) == []
