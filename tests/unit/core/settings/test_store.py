"""The config file is replaced whole, by one at a time, with its mode, owner and link kept."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.settings import store
from keruta_agent.core.settings.edited import EditedFile
from keruta_agent.core.settings.sources import KNOWN_KEYS


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_change_makes_file_and_directory(tmp_path: Path) -> None:
    path = tmp_path / ".keruta" / "config.yaml"

    store.change(path, lambda old: old + "api:\n", private=True)

    assert path.read_text() == "api:\n"
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("before", "private", "after"),
    [
        (0o644, False, 0o644),
        (0o644, True, 0o600),
        (0o666, True, 0o600),
        (0o640, True, 0o640),
        (0o600, False, 0o600),
    ],
)
def test_change_keeps_the_mode_unless_others_could_read_a_secret(
    tmp_path: Path, before: int, private: bool, after: int
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    path.chmod(before)

    store.change(path, lambda old: "api:\n", private=private)

    assert mode(path) == after


def test_change_follows_a_link_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    target = tmp_path / "dotfiles" / "keruta.yaml"
    target.write_text("# mine\n")
    link = tmp_path / "config.yaml"
    link.symlink_to("dotfiles/keruta.yaml")

    store.change(link, lambda old: f"{old}api:\n")

    assert link.is_symlink()
    assert target.read_text() == "# mine\napi:\n"


def test_change_that_fails_leaves_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.SettingsError, match="No space left on device"):
        store.change(path, lambda old: "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_command_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    (tmp_path / ".config.yaml.new").write_text("half of")

    store.change(path, lambda old: "whole")

    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_link_to_itself_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.symlink_to("config.yaml")

    with pytest.raises(errors.SettingsError, match="Cannot write the config file"):
        store.change(path, lambda old: "new")


def test_change_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOCK_TIMEOUT_S", 0.05)
    with (tmp_path / ".config.yaml.new").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(errors.SettingsError, match="another command"):
            store.change(tmp_path / "config.yaml", lambda old: "new")


def test_lock_of_the_directory_is_somebody_elses_business(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # as a daemon locks its base directory
        store.change(tmp_path / "config.yaml", lambda old: "new")
    finally:
        os.close(descriptor)
    assert (tmp_path / "config.yaml").read_text() == "new"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_what_somebody_put_in_the_way_gets_nothing_to_read(tmp_path: Path, kind: str) -> None:
    path, trap = tmp_path / "config.yaml", tmp_path / ".config.yaml.new"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    if kind == "link":
        trap.symlink_to(elsewhere)
    elif kind == "hard link":
        trap.hardlink_to(elsewhere)
    else:
        os.mkfifo(trap)

    store.change(path, lambda old: "secret", private=True)

    assert path.read_text() == "secret"
    assert mode(path) == 0o600
    assert elsewhere.read_text() == ""
    assert not trap.exists()


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    keys = ["api.timeout", "daemon.port", "error_handling.retry_count", "runs.keep_age"]

    def add(key: str) -> None:
        def edit(text: str) -> str:
            file = EditedFile(path, text, KNOWN_KEYS)
            file.set(key, 7)
            return file.text

        store.change(path, edit)

    # Each opens the file for itself, so that they lock each other out as processes do.
    with ThreadPoolExecutor(len(keys)) as threads:
        list(threads.map(add, keys))

    assert EditedFile(path, path.read_text(), KNOWN_KEYS).values == dict.fromkeys(keys, 7)


def test_persons_file_does_not_hide_the_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = tmp_path / "etc.yaml"
    machines.write_text("api:\n  url: http://a\n")
    monkeypatch.setattr("keruta_agent.core.settings.config_file.SYSTEM_FILE", machines)
    home = {"HOME": str(tmp_path)}

    with pytest.raises(errors.SettingsError, match="would not be read any more"):
        store.file_to_change(None, home)

    assert store.file_to_change(machines, home) == machines
    assert store.file_to_change(None, {**home, "KERUTA_CONFIG": "~/x"}) == tmp_path / "x"
    machines.unlink()
    assert store.file_to_change(None, home) == tmp_path / ".keruta" / "config.yaml"
    with pytest.raises(errors.SettingsError, match="HOME is not set"):
        store.file_to_change(None, {})


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null")])
def test_what_is_no_file_is_not_replaced_by_one(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "config.yaml"
    make(path)
    with pytest.raises(errors.SettingsError, match="it is no regular file"):
        store.change(path, lambda text: "a: 1\n")
    assert not path.is_file()
