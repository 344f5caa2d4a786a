"""A clone's directory bears the repository's name, unless the agent itself needs that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.agent.workspace import location
from keruta_agent.git import url


def test_clone_bears_the_name_of_its_repository(tmp_path: Path) -> None:
    assert location.choose(tmp_path, url.parse("https://host/o/app.git")) == tmp_path / "app"


@pytest.mark.parametrize(
    "name",
    ["server", "runs", "bin", "http-token", "http.json", "agent.sock", "queue.db-wal", "doc"],
)
def test_clone_never_takes_what_the_agent_or_its_server_keeps_there(
    tmp_path: Path, name: str
) -> None:
    chosen = location.choose(tmp_path, url.parse(f"https://host/o/{name}.git"))

    assert chosen.parent == tmp_path
    assert chosen.name.startswith(f"{name}-")


@pytest.mark.parametrize("letter", ["a", "界"])
def test_very_long_name_is_cut_to_what_a_file_system_takes(tmp_path: Path, letter: str) -> None:
    chosen = location.choose(tmp_path, url.parse(f"https://host/o/{letter * 300}.git"))

    (tmp_path / f"{chosen.name}-12345678").mkdir()
    assert chosen.name == letter * (200 // len(letter.encode()))


def test_clone_finds_a_name_beside_what_tasks_put_in_its_place(tmp_path: Path) -> None:
    address = url.parse("https://host/o/app.git")
    (tmp_path / "app").write_text("a file")
    hashed = location.choose(tmp_path, address)
    assert hashed.name == f"app-{address.digest}"

    hashed.symlink_to(tmp_path / "nowhere")
    assert location.choose(tmp_path, address) == tmp_path / f"{hashed.name}-2"
