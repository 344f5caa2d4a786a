"""``keruta workspace``, as a person uses it after some tasks."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import Workplace
from tests.helpers.repositories import git, make_repository


def test_person_finds_looks_at_and_tidies_the_clone(workplace: Workplace, tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "project.git")
    clone = workplace.base_dir / "project"
    with embedded_server(tmp_path / "server") as server:
        api = Api(server.url, repository_url=str(repository.path))
        workplace.environment |= {
            "KERUTA_API_URL": server.url,
            "KERUTA_SESSION_ID": api.session_id,
        }
        early = workplace.run("workspace", "status")
        assert (early.returncode, "no clone of" in early.stderr) == (2, True)
        task = api.file_task("echo x > new.txt")
        failing = api.file_task("echo half > half.txt; exit 1")
        daemon = workplace.daemon()
        api.wait_for_all([task, failing])
        api.end_session()
        assert daemon.wait() == 0

    assert workplace.run("workspace", "path").stdout == f"{clone}\n"
    (clone / "note.txt").write_text("mine")
    shown = workplace.run("workspace", "status").stdout
    assert "uncommitted  1\n" in shown
    assert "set aside    git stash apply refs/keruta/failed/" in shown
    assert "tasks        2 branches, whose commits the server has\n" in shown
    refused = workplace.run("workspace", "clean", "--remove")
    assert refused.returncode == 1
    assert "1 uncommitted, 1 set aside" in refused.stderr

    cleaned = json.loads(workplace.run("workspace", "clean", "--json").stdout)
    assert "set aside what was uncommitted" in cleaned["done"][0]
    assert not (clone / "note.txt").exists()
    assert git(clone, "for-each-ref", "refs/heads") == ""


def test_person_learns_of_a_clone_that_was_broken_and_moved_aside(
    workplace: Workplace, tmp_path: Path
) -> None:
    repository = make_repository(tmp_path / "project.git")
    with embedded_server(tmp_path / "server") as server:
        api = Api(server.url, repository_url=str(repository.path))
        workplace.environment |= {
            "KERUTA_API_URL": server.url,
            "KERUTA_SESSION_ID": api.session_id,
        }
        breaking = api.file_task("rm -rf .git/objects")
        following = api.file_task("cat README.md")
        daemon = workplace.daemon()
        api.wait_for_all([breaking, following])
        assert api.task(following)["status"] == "COMPLETED"
        api.end_session()
        assert daemon.wait() == 0

    shown = workplace.run("workspace", "status").stdout
    reported = json.loads(workplace.run("workspace", "status", "--json").stdout)
    (aside,) = reported["moved"]
    assert f"moved aside  {aside['path']}: " in shown
    assert (aside["removable"], Path(aside["path"]).parent) == (True, workplace.base_dir)
