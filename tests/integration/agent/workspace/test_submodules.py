"""Submodules between tasks: nothing in them is lost, and nothing is in the next task's way."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import survey
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.core import errors
from keruta_agent.git.submodules import aside
from keruta_agent.git.submodules import work_trees as submodules
from tests.helpers.repositories import git, make_repository
from tests.helpers.superprojects import SUBMODULE as PATH
from tests.helpers.superprojects import Superproject, commit_in
from tests.integration.agent.workspace.conftest import MakeDeep, Worker

OTHER = "87654321-1234-4ca2-b064-7a7a7672dd1a"


@pytest.fixture
def worker(superproject: Superproject, tmp_path: Path) -> Worker:
    return Worker(tmp_path / "w" / "clone", str(superproject.repository.path))


def next_task(worker: Worker) -> Place:
    return worker.prepare(task=OTHER)


def is_clean(directory: Path) -> bool:
    return not git(directory, "status", "--porcelain", "--ignore-submodules=none")


def test_what_lies_uncommitted_in_a_submodule_is_kept_under_a_ref_there(worker: Worker) -> None:
    worker.prepare()
    inner = worker.directory / PATH
    (inner / "lib.txt").write_text("dirty\n")
    (inner / "新しい.txt").write_text("new\n")
    next_task(worker)
    assert is_clean(worker.directory)
    assert not (inner / "新しい.txt").exists()
    ref = git(inner, "for-each-ref", "--format=%(refname)", "refs/keruta/stash")
    assert git(inner, "show", f"{ref}:新しい.txt") == "new"
    assert any(f"git -C {PATH} stash apply {ref}" in line for line in worker.said)


def test_commits_on_a_detached_head_of_a_submodule_are_kept(worker: Worker) -> None:
    worker.prepare()
    inner = worker.directory / PATH
    git(inner, "checkout", "--quiet", "--detach")
    commit = commit_in(inner, {"lib.txt": "better\n"})
    next_task(worker)
    assert (inner / "lib.txt").read_text() == "lib\n"
    assert git(inner, "for-each-ref", f"--contains={commit}", "refs/keruta/detached")


def test_a_submodule_in_a_submodule_is_cleaned_as_well(
    worker: Worker, superproject: Superproject, tmp_path: Path
) -> None:
    base = make_repository(tmp_path / "base.git", {"base.txt": "base\n"})
    middle = superproject.person / PATH
    git(middle, "submodule", "--quiet", "add", str(base.path), "base")
    git(middle, "commit", "--quiet", "--message", "Add the base")
    git(middle, "push", "--quiet", "origin", "HEAD:main")
    superproject.publish()
    worker.prepare()
    inner = worker.directory / PATH / "base"
    (inner / "base.txt").write_text("dirty\n")
    (inner / "left.txt").write_text("left\n")
    next_task(worker)
    assert (inner / "base.txt").read_text() == "base\n"
    assert is_clean(worker.directory) and is_clean(inner)


def test_a_submodule_becomes_a_directory_and_one_again(
    worker: Worker, superproject: Superproject
) -> None:
    worker.prepare()
    (worker.directory / PATH / "build.o").write_text("built")
    superproject.remove()
    (superproject.person / PATH).mkdir(parents=True)
    (superproject.person / PATH / "lib.txt").write_text("plain\n")
    (superproject.person / ".gitignore").write_text("*.o\n")
    superproject.publish()
    next_task(worker)
    assert (worker.directory / PATH / "lib.txt").read_text() == "plain\n"
    assert not (worker.directory / PATH / ".git").exists()
    assert is_clean(worker.directory)

    (worker.directory / PATH / "build.o").write_text("built, and ignored")
    git(superproject.person, "rm", "--quiet", "-r", PATH)
    superproject.add(str(superproject.library.path), PATH)
    worker.prepare(task="33333333-1234-4ca2-b064-7a7a7672dd1a")
    assert (worker.directory / PATH / "lib.txt").read_text() == "lib\n"
    assert (worker.directory / PATH / ".git").is_file()


def test_a_submodule_that_the_base_lost_leaves_nothing_behind(
    worker: Worker, superproject: Superproject
) -> None:
    worker.prepare()
    superproject.remove()
    superproject.publish()
    next_task(worker)
    assert not (worker.directory / PATH).exists()
    assert not list(submodules.modules(worker.open()))


def test_a_submodule_that_a_task_added_is_not_in_the_way_of_its_retry(
    worker: Worker, superproject: Superproject, tmp_path: Path
) -> None:
    more = make_repository(tmp_path / "more.git", {"more.txt": "more\n"})
    for _ in range(2):
        worker.prepare()
        git(worker.directory, "submodule", "--quiet", "add", str(more.path), "more")
    inner = worker.directory / "more"
    kept = commit_in(inner, {"more.txt": "only here\n"})
    next_task(worker)
    assert not inner.exists()
    [moved] = (worker.directory / ".git" / aside.ASIDE).iterdir()
    assert git(tmp_path, f"--git-dir={moved}", "cat-file", "-t", kept) == "commit"


def test_a_submodule_moves_to_another_address_with_another_history(
    worker: Worker, superproject: Superproject, tmp_path: Path
) -> None:
    worker.prepare()
    other = make_repository(tmp_path / "other.git", {"lib.txt": "from elsewhere\n"})
    superproject.remove()
    superproject.add(str(other.path), PATH)
    next_task(worker)
    assert (worker.directory / PATH / "lib.txt").read_text() == "from elsewhere\n"
    assert git(worker.directory / PATH, "remote", "get-url", "origin") == str(other.path)


def test_a_submodule_with_an_address_relative_to_the_superproject(
    worker: Worker, superproject: Superproject
) -> None:
    git(superproject.person, "config", "-f", ".gitmodules", "submodule.lib.url", "../library.git")
    superproject.publish()
    worker.prepare()
    assert (worker.directory / PATH / "lib.txt").read_text() == "lib\n"


@pytest.mark.parametrize("broken", ["HEAD", "config", "index", "objects"])
def test_a_broken_clone_of_a_submodule_is_made_anew(worker: Worker, broken: str) -> None:
    worker.prepare()
    module = worker.directory / ".git" / "modules" / "lib"
    if broken == "objects":
        for file in (module / "objects").rglob("*"):
            if file.is_file():
                file.unlink()  # it is one with the server's file
                file.touch()
    else:
        (module / broken).write_bytes(b"\0broken")
    next_task(worker)
    assert (worker.directory / PATH / "lib.txt").read_text() == "lib\n"
    assert is_clean(worker.directory)


def test_a_submodule_whose_repository_is_gone_is_cloned_again(worker: Worker) -> None:
    worker.prepare()
    shutil.rmtree(worker.directory / ".git" / "modules")
    next_task(worker)
    assert (worker.directory / PATH / "lib.txt").read_text() == "lib\n"


def test_a_clone_that_a_task_put_in_place_of_a_submodule_is_kept(
    worker: Worker, superproject: Superproject, tmp_path: Path
) -> None:
    worker.prepare()
    inner = worker.directory / PATH
    shutil.rmtree(inner)
    git(tmp_path, "clone", "--quiet", str(superproject.library.path), str(inner))
    commit = commit_in(inner, {"lib.txt": "committed in the other clone\n"})
    (inner / "lib.txt").write_text("dirty\n")
    next_task(worker)
    assert (inner / "lib.txt").read_text() == "lib\n"
    assert git(inner, "cat-file", "-t", commit) == "commit"


def test_a_clone_is_not_called_replaceable_while_a_submodule_has_what_no_server_has(
    worker: Worker,
) -> None:
    worker.prepare()
    assert survey.survey(worker.open()).is_replaceable
    commit_in(worker.directory / PATH, {"lib.txt": "better\n"})
    found = survey.survey(worker.open())
    assert not found.is_replaceable
    assert found.unpushed == ["submodule lib"]


def test_a_setting_that_leads_a_submodule_to_another_place_is_taken_out(worker: Worker) -> None:
    worker.prepare()
    (worker.directory / "notes.txt").write_text("in the superproject\n")
    module = worker.directory / ".git" / "modules" / "lib"
    git(worker.directory, "config", "-f", str(module / "config"), "core.worktree", "../../..")
    next_task(worker)
    assert (worker.directory / "README.md").exists()
    assert (worker.directory / PATH / "lib.txt").read_text() == "lib\n"


def test_a_link_in_place_of_a_submodule_is_not_followed(worker: Worker, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    git(tmp_path, "init", "--quiet", str(elsewhere))
    (elsewhere / "precious.txt").write_text("precious\n")
    worker.prepare()
    shutil.rmtree(worker.directory / PATH)
    (worker.directory / PATH).symlink_to(elsewhere)
    next_task(worker)
    assert (elsewhere / "precious.txt").read_text() == "precious\n"
    assert (worker.directory / PATH / "lib.txt").read_text() == "lib\n"


def test_a_repository_elsewhere_that_a_submodule_was_made_to_name_is_left_alone(
    worker: Worker, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    git(tmp_path, "init", "--quiet", str(elsewhere))
    (elsewhere / "precious.txt").write_text("precious\n")
    commit_in(elsewhere, {"other.txt": "other\n"})
    (elsewhere / "precious.txt").write_text("not committed\n")
    worker.prepare()
    (worker.directory / PATH / ".git").write_text(f"gitdir: {elsewhere / '.git'}\n")
    next_task(worker)
    assert (elsewhere / "precious.txt").read_text() == "not committed\n"
    assert git(elsewhere, "status", "--porcelain") == "M precious.txt"
    assert (worker.directory / PATH / "lib.txt").read_text() == "lib\n"


def test_a_program_that_a_task_names_for_updates_is_not_run(
    worker: Worker, superproject: Superproject, tmp_path: Path
) -> None:
    worker.prepare()
    trace = tmp_path / "was-run"
    git(worker.directory, "config", "submodule.lib.update", f"!touch {trace}")
    superproject.library.commit("main", {"lib.txt": "newer\n"})
    superproject.update()
    next_task(worker)
    assert (worker.directory / PATH / "lib.txt").read_text() == "newer\n"
    assert not trace.exists()


def test_a_program_that_the_repository_names_for_updates_is_refused(
    worker: Worker, superproject: Superproject, tmp_path: Path
) -> None:
    trace = tmp_path / "was-run"
    git(
        superproject.person,
        "config",
        "-f",
        ".gitmodules",
        "submodule.lib.update",
        f"!touch {trace}",
    )
    superproject.publish()
    with pytest.raises(errors.WorkspaceError, match=r"submodule\.lib\.update"):
        worker.prepare()
    assert not trace.exists()


def test_a_submodule_that_is_not_to_be_updated_stays_out(
    worker: Worker, superproject: Superproject
) -> None:
    git(superproject.person, "config", "-f", ".gitmodules", "submodule.lib.update", "none")
    superproject.publish()
    worker.prepare()
    assert not list((worker.directory / PATH).iterdir())


def test_a_commit_that_the_submodules_server_lacks_is_named(
    worker: Worker, superproject: Superproject
) -> None:
    commit = commit_in(superproject.person / PATH, {"lib.txt": "never pushed\n"})
    superproject.publish()
    with pytest.raises(errors.WorkspaceError, match=f"{PATH}.* does not have its commit {commit}"):
        worker.prepare()


def test_no_more_is_moved_aside_when_too_much_with_commits_was(
    worker: Worker, superproject: Superproject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "MOST_ASIDE", 1)
    more = make_repository(tmp_path / "more.git", {"more.txt": "more\n"})
    for commits in range(2):
        worker.prepare()
        git(worker.directory, "submodule", "--quiet", "add", str(more.path), f"more{commits}")
        commit_in(worker.directory / f"more{commits}", {"more.txt": f"only here {commits}\n"})
        if commits == 0:
            next_task(worker)
    with pytest.raises(errors.WorkspaceError, match="that were moved before") as caught:
        next_task(worker)
    assert "rm -rf" in caught.value.advice


def test_the_oldest_without_commits_makes_room(
    worker: Worker, superproject: Superproject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "MOST_ASIDE", 2)
    worker.prepare()
    clone = worker.open()
    for name in ("first", "second", "third"):
        (worker.directory / name).mkdir()
        aside.move(clone, worker.directory / name, worker.said.append)
    kept = (worker.directory / ".git" / aside.ASIDE).iterdir()
    assert sorted(path.name.partition("-")[2] for path in kept) == ["second", "third"]


def test_deep_tree_in_a_submodule_that_is_gone_is_removed(
    worker: Worker, superproject: Superproject, make_deep: MakeDeep
) -> None:
    worker.prepare()
    inner = worker.directory / PATH
    (inner / ".gitignore").write_text("d/\n")
    git(inner, "add", ".gitignore")
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        make_deep(inner, 350, "d")  # deeper than Python recurses; each level costs as its depth
        superproject.remove()
        superproject.publish()
        next_task(worker)
    finally:
        sys.setrecursionlimit(usual)
    assert not inner.exists()


def test_submodule_that_a_task_leads_to_its_own_repository_is_refused_in_a_persons_clone(
    superproject: Superproject, tmp_path: Path
) -> None:
    person = tmp_path / "persons-own"
    source = str(superproject.repository.path)
    git(tmp_path, "clone", "--quiet", "--recurse-submodules", source, str(person))
    worker = Worker(person, source)
    worker.prepare()
    elsewhere = tmp_path / "elsewhere"
    Path(git(person / PATH, "rev-parse", "--absolute-git-dir")).rename(elsewhere)
    trap = tmp_path / "trap"
    config = ("config", "--file", str(elsewhere / "config"))
    git(tmp_path, *config, "core.worktree", str(person / PATH))
    git(tmp_path, *config, "filter.t.smudge", f"touch {trap}; cat")
    (elsewhere / "info" / "attributes").write_text("* filter=t\n")
    (person / PATH / ".git").write_text(f"gitdir: {elsewhere}\n")
    (person / PATH / "lib.txt").unlink()
    with pytest.raises(errors.WorkspaceError, match="another repository"):
        next_task(worker)
    assert not trap.exists()
