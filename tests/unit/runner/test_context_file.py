from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding import context_file

PLAIN = {"task_id": "1", "spec_name": "s", "title": "t", "description": "d"}


def test_task_is_read_from_json_and_yaml(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(PLAIN))
    (tmp_path / "t.yaml").write_text("task_id: 1.1\nspec_name: 仕様\ntitle: t\ndescription: d\n")

    assert context_file.from_file(tmp_path / "t.json", timeout_s=7).timeout_seconds == 7
    found = context_file.from_file(tmp_path / "t.yaml")
    assert (found.task_id, found.spec_name) == ("1.1", "仕様")


def test_changes_reach_into_the_metadata_and_are_read_as_yaml(tmp_path: Path) -> None:
    changes = ("metadata.repo_url=https://x/y.git", "max_tokens=5", "test_commands=[a, b]")
    more = ("title=a: b = c", "fail_fast=false")

    found = context_file.from_values(context_file.changed(PLAIN, (*changes, *more)))

    assert found.metadata == {"repo_url": "https://x/y.git"}
    assert (found.max_tokens, found.test_commands) == (5, ["a", "b"])
    assert (found.title, found.fail_fast) == ("a: b = c", False)


def test_words_of_a_dispatcher_are_understood() -> None:
    values = {
        "task_id": "1",
        "spec_name": "s",
        "task_title": "題",
        "task_description": "d",
        "required_skill": None,
        "repo_url": "https://x/y.git",
        "slot_id": "",
        "metadata": {"a": 1},
    }

    found = context_file.from_environment({"TASK_CONTEXT": json.dumps(values)})

    assert (found.title, found.required_skill) == ("題", "")
    assert found.metadata == {"a": 1, "repo_url": "https://x/y.git"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**PLAIN, "what": 1}, "what"),
        ({**PLAIN, "metadata": []}, "metadata"),
        ({"task_id": "1"}, "title"),
        ({**PLAIN, "timeout_seconds": "soon"}, "timeout_seconds"),
    ],
)
def test_wrong_task_is_reported_by_the_name_of_its_field(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.TaskContextValidationError, match=message):
        context_file.from_values(values)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "x"])
def test_text_that_is_no_task_is_reported(text: str) -> None:
    with pytest.raises(errors.TaskContextValidationError):
        context_file.from_environment({"TASK_CONTEXT": text})


@pytest.mark.parametrize("change", ["x", "=x", "title.x=1"])
def test_change_that_changes_nothing_is_reported(change: str) -> None:
    with pytest.raises(errors.TaskContextValidationError, match="--set"):
        context_file.changed(PLAIN, [change])
