"""What a person sees of a clone, and what is removed when they ask for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.agent.workspace import survey
from keruta_agent.core import errors
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import BRANCH, Worker


@pytest.fixture
def worker(tmp_path: Path, repository: Repository) -> Worker:
    return Worker(tmp_path / "w" / "clone", str(repository.path))


def test_clone_with_nothing_to_lose_is_removed(worker: Worker) -> None:
    worker.prepare()
    found = survey.survey(worker.open())
    assert found.is_replaceable
    assert (found.branch, found.pushed, found.unpushed) == (BRANCH, [BRANCH], [])
    survey.remove(worker.open())
    assert not worker.directory.exists()


def test_clone_with_commits_that_are_nowhere_else_is_removed_by_force_only(worker: Worker) -> None:
    worker.prepare()
    git(worker.directory, "commit", "--quiet", "--allow-empty", "--message", "x")
    (worker.directory / "new.txt").write_text("x")
    with pytest.raises(errors.WorkspaceError, match="1 uncommitted, 1 branches not pushed"):
        survey.remove(worker.open())
    survey.remove(worker.open(), force=True)
    assert not worker.directory.exists()


@pytest.mark.parametrize("force", [False, True])
def test_clone_of_somebody_else_is_never_removed(
    worker: Worker, repository: Repository, force: bool
) -> None:
    git(worker.directory, "clone", "--quiet", str(repository.path), ".")
    with pytest.raises(errors.WorkspaceError, match="was not made by the agent"):
        survey.remove(worker.open(), force=force)
    assert (worker.directory / "README.md").exists()


def test_tidying_keeps_what_is_not_pushed_and_removes_ignored_files_if_asked(
    worker: Worker, repository: Repository
) -> None:
    repository.commit("main", {".gitignore": "build\n"})
    worker.prepare()
    git(worker.directory, "commit", "--quiet", "--allow-empty", "--message", "x")
    other = worker.prepare(task="22222222-1234-4ca2-b064-7a7a7672dd1a").branch
    (worker.directory / "build").write_text("x")
    survey.tidy(worker.open(), worker.said.append)
    assert (worker.directory / "build").exists()
    survey.tidy(worker.open(), worker.said.append, ignored=True)
    assert not (worker.directory / "build").exists()
    assert (
        git(worker.directory, "for-each-ref", "--format=%(refname:short)", "refs/heads") == BRANCH
    )
    assert f"removed the branch {other}: the server has all its commits" in worker.said
