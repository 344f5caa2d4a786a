"""Git LFS itself: large files are brought, and what a task makes of them is there for others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from keruta_agent.workspace import commit, push
from keruta_agent.workspace.push import Target
from tests.helpers.repositories import Repository, git
from tests.integration.workspace.conftest import BRANCH, LIMITS, SESSION, TASK, Worker

pytestmark = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")

OLD = b"\0old\n" * 1000
NEW = b"\0new\n" * 1000


def somebodys_clone(directory: Path, address: str, branch: str = "main") -> Path:
    """Clones as a person who has Git LFS set up."""
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
    message = commit.Message(name="work", task_id=TASK, session_id=SESSION, run_uid="work")
    assert commit.commit_all(worker.open(), place, message, LIMITS, worker.said.append)
    target = Target(branch=place.branch, protected=frozenset({"main"}))
    push.push(worker.open(), target, LIMITS, worker.said.append)

    assert git(worker.directory, "show", "HEAD:b.bin").startswith("version https://git-lfs")
    others = somebodys_clone(tmp_path / "others", address, BRANCH)
    assert (others / "a.bin").read_bytes() == NEW
    assert (others / "b.bin").read_bytes() == NEW * 2
