"""Names of branches."""

from __future__ import annotations

import re

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding.branches import branch_of
from keruta_agent.core.coding.model import TaskContext


def _branch(spec_name: str, task_id: str, branch_name: str = "") -> str:
    return branch_of(
        TaskContext(
            task_id=task_id,
            spec_name=spec_name,
            title="t",
            description="d",
            branch_name=branch_name,
        )
    )


def test_branch_is_named_by_spec_and_task() -> None:
    assert _branch("chat-app", "1.1") == "feature/task-chat-app-1.1"
    assert _branch("数学", "タスク1") == "feature/task-数学-タスク1"


@pytest.mark.parametrize(
    ("spec_name", "task_id"),
    [("a..b", "1"), ("x", "1.lock"), ("x", "1."), ("a b", "1"), ("🙂", "🙂"), ("-", "-")],
)
def test_ids_that_no_branch_can_bear_are_kept_apart_by_a_hash(spec_name: str, task_id: str) -> None:
    name = _branch(spec_name, task_id)

    assert re.fullmatch(r"feature/task-[\w.-]*[0-9a-f]{8}", name)
    assert ".." not in name
    assert name != _branch(f"{spec_name} ", task_id)


def test_long_ids_make_a_name_that_git_can_store() -> None:
    name = _branch("数学" * 100, "1.1")

    assert len(name.rpartition("/")[2].encode()) <= 200
    assert name != _branch("数学" * 100, "1.2")


def test_named_branch_that_git_cannot_store_is_refused() -> None:
    assert _branch("s", "1", f"feature/{'あ' * 60}/x").startswith("feature/")
    with pytest.raises(errors.SecurityError, match="too long"):
        _branch("s", "1", f"feature/{'あ' * 80}")
