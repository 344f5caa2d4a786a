"""The runner's records become plain values and back, and say what is wrong with strange ones."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding import record as record_module
from keruta_agent.core.coding.model import (
    Artifact,
    ArtifactType,
    CodeChange,
    ImplementationResult,
    LLMConfig,
    PushResult,
    RunnerResult,
    SingleTestResult,
    TaskContext,
    TestResult,
)

CONTEXT = TaskContext(
    task_id="1.1",
    spec_name="chat-app",
    title="データベーススキーマの実装",
    description="UserとMessageモデルを作成",
    acceptance_criteria=["a", "b"],
    slot_path=Path("/workspace"),
    branch_name="feature/task-1.1-database-schema",
    metadata={"repo_url": "https://example.org/x.git", "n": [1, {"a": None}]},
)
RESULT = RunnerResult(
    success=True,
    runner_id="runner-1",
    task_id="1.1",
    duration_seconds=1.5,
    artifacts=[
        Artifact(
            type=ArtifactType.DIFF,
            uri="http://localhost:8003/artifacts/1",
            size_bytes=3,
            created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        )
    ],
    impl_result=ImplementationResult(
        success=True,
        diff="+x",
        files_changed=["x.py"],
        duration_seconds=1.0,
        code_changes=[CodeChange(file_path="x.py", operation="create", content="x")],
    ),
    test_result=TestResult(
        success=True,
        test_results=[SingleTestResult("pytest", True, "ok", "", 0, 0.1)],
        total_duration_seconds=0.1,
    ),
    push_result=PushResult(True, "feature/x", "a" * 40, 0),
)


@pytest.mark.parametrize("record", [CONTEXT, RESULT], ids=["context", "result"])
def test_record_survives_the_way_through_json(record):
    text = json.dumps(record.to_dict())
    assert type(record).from_dict(json.loads(text)) == record


def test_key_leaves_neither_in_a_repr_nor_in_a_dict():
    config = LLMConfig(api_key="sk-very-secret")
    assert "sk-very-secret" not in repr(config) + str(config.to_dict())
    assert config.to_dict()["api_key"] == record_module.MASK


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task_id": None}, "task_id"),
        ({"task_id": 3}, "task_id: It must be text."),
        ({"timeout_seconds": "soon"}, "timeout_seconds"),
        ({"fail_fast": "no"}, "fail_fast"),
        ({"surprise": 1}, "surprise: Unknown field."),
        ({"acceptance_criteria": "one"}, "acceptance_criteria"),
        ({"acceptance_criteria": [1]}, "acceptance_criteria.0: It must be text."),
        ({"slot_path": ""}, "slot_path: It must be a path."),
        ({"metadata": []}, "metadata"),
    ],
)
def test_strange_value_is_refused_by_the_name_of_its_field(change, words):
    with pytest.raises(errors.TaskContextValidationError, match="TaskContext") as refused:
        TaskContext.from_dict({**CONTEXT.to_dict(), **change})
    assert words in str(refused.value)


def test_values_that_are_missing_are_named():
    with pytest.raises(errors.TaskContextValidationError) as refused:
        TaskContext.from_dict({"task_id": "1", "title": "t", "description": "d"})
    assert str(refused.value) == "cannot read a TaskContext: spec_name: it is missing"


def test_strange_value_inside_of_a_list_is_named_by_its_place():
    data = RESULT.to_dict()
    data["artifacts"][0]["type"] = "poem"
    with pytest.raises(errors.TaskContextValidationError, match=r"artifacts\.0\.type"):
        RunnerResult.from_dict(data)


def test_records_cannot_be_changed_by_who_gets_them():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONTEXT.slot_id = "another"


@pytest.mark.parametrize("change", [setattr, lambda record, name, _value: delattr(record, name)])
def test_code_of_the_old_runner_is_told_what_to_do_instead(change: Any) -> None:
    with pytest.raises(
        dataclasses.FrozenInstanceError, match=r"dataclasses\.replace\(context, slot_id=\.\.\.\)"
    ):
        change(CONTEXT, "slot_id", "another")
    changed = dataclasses.replace(CONTEXT, slot_id="another")
    assert (changed.slot_id, CONTEXT.slot_id) == ("another", "")
    assert copy.deepcopy(changed) == pickle.loads(pickle.dumps(changed)) == changed
