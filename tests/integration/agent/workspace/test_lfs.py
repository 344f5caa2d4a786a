"""Git LFS itself: large files are brought, and what a task makes of them is there for others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import commit, push
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.agent.workspace.push import Target
from keruta_agent.git import lfs
from keruta_agent.git.scan import RefusedError
from tests.helpers.repositories import Repository, git
from tests.helpers.superprojects import SUBMODULE, Superproject
from tests.integration.agent.workspace.conftest import BRANCH, LIMITS, SESSION, TASK, Worker

pytestmark = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")

OLD = b"\0old\n" * 1000
NEW = b"\0new\n" * 1000


def somebodys_clone(directory: Path, address: str, branch: str = "main") -> Path:
    """Clone as a person who has Git LFS set up."""
    git(directory.parent, "clone", "--quiet", "--branch", branch, address, str(directory))
    git(directory, "lfs", "install", "--local")
    git(directory, "lfs", "pull")
    return directory


@pytest.fixture
def address(repository: Repository, tmp_path: Path) -> str:
    """A repository whose *.bin are large files, one of which is there."""
    address = repository.path.as_uri()  # Git LFS needs no server of its own behind such a one
    theirs = somebodys_clone(tmp_path / "theirs", address)
    git(theirs, "lfs", "track", "*.bin")
    (theirs / "a.bin").write_bytes(OLD)
    git(theirs, "add", "--all")
    git(theirs, "commit", "--quiet", "--message", "Large files")
    git(theirs, "push", "--quiet", "origin", "main")
    return address


def test_content_that_a_task_changed_reaches_others(address: str, tmp_path: Path) -> None:
    worker = Worker(tmp_path / "w" / "clone", address)
    place = worker.prepare()
    assert (worker.directory / "a.bin").read_bytes() == OLD

    (worker.directory / "a.bin").write_bytes(NEW)
    (worker.directory / "b.bin").write_bytes(NEW * 2)
    finish(worker, place)

    assert git(worker.directory, "show", "HEAD:b.bin").startswith("version https://git-lfs")
    others = somebodys_clone(tmp_path / "others", address, BRANCH)
    assert (others / "a.bin").read_bytes() == NEW
    assert (others / "b.bin").read_bytes() == NEW * 2


@pytest.fixture(params=["a directory's", "the clone's own", "the user's"])
def hidden_attributes(
    request: pytest.FixtureRequest, repository: Repository, tmp_path: Path
) -> Worker:
    """A worker whose *.bin in assets/ are large files, by attributes that are not the root's."""
    worker = Worker(tmp_path / "w" / "clone", repository.path.as_uri())
    if request.param == "a directory's":
        repository.commit("main", {"assets/.gitattributes": "*.bin filter=lfs -text\n"})
        worker.prepare()
    elif request.param == "the clone's own":
        worker.prepare()
        info = worker.directory / ".git" / "info"
        info.mkdir(exist_ok=True)
        (info / "attributes").write_text("[attr]large filter=lfs -text\n*.bin large\n")
    else:
        worker.prepare()
        own = tmp_path / "home" / ".config" / "git" / "attributes"
        own.parent.mkdir(parents=True)
        own.write_text("*.bin filter=lfs -text\n")
    return worker


def add_files(worker: Worker) -> Place:
    place = worker.prepare()
    (worker.directory / "assets").mkdir(exist_ok=True)
    # The same content stands first where it may.
    (worker.directory / "assets" / "a.txt").write_bytes(NEW)
    (worker.directory / "assets" / "b.bin").write_bytes(NEW)
    return place


def finish(worker: Worker, place: Place) -> None:
    message = commit.Message(name="work", task_id=TASK, session_id=SESSION, run_uid="work")
    commit.commit_all(worker.open(), place, message, LIMITS, worker.said.append)
    target = Target(branch=place.branch, protected=frozenset({"main"}))
    push.push(worker.open(), target, LIMITS, worker.said.append)


def test_attributes_count_wherever_they_stand(
    hidden_attributes: Worker, repository: Repository
) -> None:
    finish(hidden_attributes, add_files(hidden_attributes))
    assert repository.file(BRANCH, "assets/b.bin").startswith("version https://git-lfs")
    assert list((repository.path / "lfs" / "objects").rglob("*"))


def test_a_large_file_is_not_pushed_as_it_is_where_git_lfs_is_missing(
    hidden_attributes: Worker, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = add_files(hidden_attributes)
    monkeypatch.setattr(lfs, "is_installed", lambda: False)
    with pytest.raises(RefusedError, match=r"assets/b\.bin is for Git LFS .* not installed"):
        finish(hidden_attributes, place)
    assert not repository.task_branches


def test_a_large_file_that_the_script_committed_as_it_is_is_not_pushed(
    hidden_attributes: Worker, repository: Repository
) -> None:
    worker = hidden_attributes
    place = worker.prepare()
    (worker.directory / "assets").mkdir(exist_ok=True)
    (worker.directory / "assets" / "small.bin").write_bytes(b"\0small")
    without = ("-c", "filter.lfs.clean=cat", "-c", "filter.lfs.process=")
    git(worker.directory, *without, "add", "--all")
    git(worker.directory, *without, "commit", "--quiet", "--message", "Plain")
    with pytest.raises(RefusedError, match=r"assets/small\.bin is for Git LFS"):
        finish(worker, place)
    assert not repository.task_branches


def test_large_files_in_a_submodule_reach_its_server(
    superproject: Superproject, library: Repository, tmp_path: Path
) -> None:
    library.commit("main", {".gitattributes": "*.bin filter=lfs -text\n"})
    superproject.update()
    worker = Worker(tmp_path / "w" / "clone", superproject.repository.path.as_uri())
    place = worker.prepare()
    inner = worker.directory / SUBMODULE
    git(inner, "lfs", "install", "--local", "--skip-repo")
    (inner / "a.bin").write_bytes(NEW)
    git(inner, "add", "--all")
    git(inner, "-c", "core.hooksPath=/dev/null", "commit", "--quiet", "--message", "Large")
    finish(worker, place)
    theirs = somebodys_clone(tmp_path / "theirs", library.path.as_uri(), BRANCH)
    assert (theirs / "a.bin").read_bytes() == NEW
