"""What a soak finds out about the commits of its tasks."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from keruta_agent.soak import clone_damage
from keruta_agent.soak.evidence import commits
from keruta_agent.soak.evidence.script_record import ScriptRecord
from keruta_agent.soak.load_generator import FiledTask
from keruta_agent.soak.repository import Repository
from keruta_agent.soak.soak_tasks import plan_task
from tests.helpers import repositories

TASK = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    found = Repository(tmp_path)
    found.make()
    return found


def _push(repository: Repository, branch: str, text: str) -> None:
    message = f"A change\n\nKeruta-Task: {TASK}\n"
    server = repositories.Repository(repository.path)
    server.commit(branch, {f"{_plan().name}.txt": text}, message)


def _plan():  # type: ignore[no-untyped-def]
    return dataclasses.replace(plan_task(1, 0, Path("/record")), changes=True)


def _complaints(
    repository: Repository, directory: Path, *, is_quarantined: bool = False
) -> list[str]:
    record = directory / "script-records"
    record.mkdir(exist_ok=True)
    (record / "changed").write_text("as the script wrote it\n", encoding="utf-8")
    task = FiledTask(plan=_plan(), id=TASK, filed_at=0.0)
    pushed = repository.commits()
    found = commits.complaints(
        repository, pushed, task, ScriptRecord(record), is_quarantined=is_quarantined
    )
    return list(found)


def test_commit_that_is_there_once_as_it_was_written_is_right(
    repository: Repository, tmp_path: Path
) -> None:
    _push(repository, "keruta-task-1", "as the script wrote it\n")

    assert _complaints(repository, tmp_path) == []
    assert repository.problems() == ""


def test_commit_that_is_missing_doubled_or_has_something_else_is_found_out(
    repository: Repository, tmp_path: Path
) -> None:
    assert "0 commits are at the server" in _complaints(repository, tmp_path)[0]
    assert _complaints(repository, tmp_path, is_quarantined=True) == []

    _push(repository, "keruta-task-1", "something else\n")
    [said] = _complaints(repository, tmp_path)
    assert "'something else\\n'" in said

    _push(repository, "keruta-task-2", "as the script wrote it\n")
    assert "2 commits are at the server" in _complaints(repository, tmp_path)[0]


def test_clone_is_broken_from_outside_only_where_there_is_one(
    repository: Repository, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    chosen = random.Random(1)
    assert not clone_damage.break_clone(clone, chosen)
    repositories.git(tmp_path, "clone", "--quiet", repository.url, str(clone))

    assert clone_damage.break_clone(clone, chosen)
