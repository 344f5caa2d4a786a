"""Rounds of a model with canned answers, in a real workspace."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding.model import (
    ImplementationResult,
    SingleTestResult,
    TaskContext,
    TestResult,
    Workspace,
)
from keruta_agent.runner import TaskExecutor
from keruta_agent.runner.budget import Limits
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes, refusing
from tests.helpers.model_server import KEY, config_of, repository, task

WRONG = "def add(a, b):\n    return a - b\n"
RIGHT = "def add(a, b):\n    return a + b\n"


def edit(old: str, new: str, path: str = "calc.py") -> str:
    content = f"<<<<<<< SEARCH\n    return {old}\n=======\n    return {new}\n>>>>>>> REPLACE\n"
    return changes({"file_path": path, "operation": "edit", "content": content})


def run_calc(context: TaskContext, workspace: Workspace) -> TestResult:
    """Is the tests of the project: the addition has to be right."""
    text = (workspace.path / "calc.py").read_text()
    success = text == RIGHT
    printed = "1 passed" if success else f"E  assert wrong\n{text}\n1 failed in 0.0{len(text)}s"
    result = SingleTestResult("pytest -q", success, printed, "", int(not success), 0.1)
    return TestResult(success, [result], 0.1)


def executed(
    tmp_path: Path,
    turns: Sequence[Turn | str],
    *,
    run_tests: Callable[..., TestResult] | None = run_calc,
    **options: Any,
) -> tuple[ImplementationResult, ScriptedModel]:
    workspace = repository(tmp_path / "作業", calc_py=WRONG)
    fields = options.pop("fields", {})
    with ScriptedModel(turns).serving() as model:
        executor = TaskExecutor(config_of(model), run_tests=run_tests, **options)
        return executor.execute(task(**fields), workspace), model


def test_failing_tests_go_back_to_the_model_until_they_pass(tmp_path: Path) -> None:
    reported: list[str] = []
    result, model = executed(
        tmp_path,
        [edit("a - b", "a * b"), edit("a * b", "a + b")],
        report=lambda step, facts: reported.append(step),
    )
    assert result.success and result.rounds == 2 and result.error is None
    assert result.files_changed == ["calc.py"] and result.tokens_used == 240
    assert "-    return a - b\n+    return a + b\n" in result.diff
    assert "Before any change the tests fail" in model.prompts[0]
    assert "assert wrong" in model.prompts[1] and "return a * b" in model.prompts[1]
    round_of = ["round_started", "model_answered", "changes_applied", "tests_finished"]
    assert reported == ["tests_finished", *round_of, *round_of]


def test_refused_answer_goes_back_with_the_reason_and_writes_nothing(tmp_path: Path) -> None:
    bad = json.dumps(
        {
            "code_changes": [
                {"file_path": "new.py", "operation": "create", "content": "x"},
                {"file_path": "/etc/motd", "operation": "create", "content": "x"},
            ]
        }
    )
    result, model = executed(tmp_path, [bad, edit("a - b", "a + b")])
    assert result.success and not (tmp_path / "作業" / "new.py").exists()
    assert "outside workspace" in model.prompts[1]


def test_new_and_deleted_files_are_in_the_diff(tmp_path: Path) -> None:
    answer = changes(
        {"file_path": "新.py", "operation": "create", "content": "x = 1"},
        {"file_path": "calc.py", "operation": "delete", "content": ""},
    )
    result, _ = executed(tmp_path, [answer], run_tests=None)
    assert result.success and result.files_changed == ["calc.py", "新.py"]
    assert "+++ /dev/null" in result.diff
    assert "--- /dev/null\n+++ b/新.py\n@@ -0,0 +1 @@\n+x = 1\n\\ No newline" in result.diff


def test_same_failure_twice_stops(tmp_path: Path) -> None:
    answers = [edit("a - b", "a * b"), edit("a * b", "a * b  # hm"), edit("a * b  # hm", "a * b")]

    def same(context: TaskContext, workspace: Workspace) -> TestResult:
        result = SingleTestResult("t", False, f"E  no\n1 failed in {id(result_of)}.1s", "", 1, 0.1)
        result_of.append(result)
        return TestResult(False, [result], 0.1)

    result_of: list[SingleTestResult] = []
    result, model = executed(
        tmp_path, answers, run_tests=same, tests_first=False, limits=Limits(rounds=9)
    )
    assert len(model.requests) == 2 and result.rounds == 2
    assert result.error_type == "TestExecutionError" and "twice in the same way" in str(
        result.error
    )
    assert result.diff, "the evidence is kept"


def test_same_refusal_twice_stops(tmp_path: Path) -> None:
    result, model = executed(tmp_path, [edit("nothing", "x")] * 5, limits=Limits(rounds=5))
    assert len(model.requests) == 2 and result.error_type == "EditError"
    assert not result.success and result.diff == ""


@pytest.mark.parametrize(
    ("limits", "requests", "reason"),
    [
        (Limits(rounds=2), 2, "The rounds are used up"),
        (Limits(rounds=9, tokens=200), 2, "The tokens are used up: 240 of 200"),
        (
            Limits(rounds=9, cost=8, input_price=50_000),
            2,
            r"The money is used up: 0\.010 of 0\.008",
        ),
        (Limits(rounds=9, cost=3, output_price=50_000), 3, "The money is used up"),
        (Limits(rounds=9, seconds=1e-9), 0, "The time is used up"),
    ],
)
def test_what_is_used_up_ends_the_task_and_is_named(
    tmp_path: Path, limits: Limits, requests: int, reason: str
) -> None:
    expressions = ["a - b", "a * b", "a / b", "a % b", "a ** b"]
    answers = [edit(*pair) for pair in itertools.pairwise(expressions)]
    result, model = executed(tmp_path, answers, limits=limits)
    assert result.error_type == "BudgetExceededError"
    assert pytest.raises(errors.RunnerError, match=reason).matches(errors.RunnerError(result.error))
    assert len(model.requests) == requests


def test_broken_answers_count_for_the_budget(tmp_path: Path) -> None:
    result, model = executed(tmp_path, ["no", "no"], limits=Limits(rounds=9, tokens=100))
    assert len(model.requests) == 1 and "tokens are used up" in str(result.error)


def test_no_change_is_no_success(tmp_path: Path) -> None:
    nothing = changes()
    same = changes({"file_path": "calc.py", "operation": "modify", "content": WRONG})
    result, _ = executed(tmp_path, [nothing, same], run_tests=None)
    assert not result.success and "changes nothing" in str(result.error)


def test_interruption_and_a_refused_key_are_results_with_their_type(tmp_path: Path) -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 3:
            raise errors.TimeoutError("Task execution timeout")

    slow = Turn(content=edit("a - b", "a + b"), delay_s=60)
    result, _ = executed(tmp_path / "a", [slow], check=check)
    assert result.error_type == "TimeoutError"
    result, _ = executed(tmp_path / "b", [refusing(401, KEY)], key_variable="MY_KEY")
    assert result.error_type == "AuthenticationError" and "MY_KEY" in str(result.error)
    assert KEY not in json.dumps(result.to_dict())


def test_result_says_what_the_tokens_cost(tmp_path: Path) -> None:
    limits = Limits(input_price=10_000, output_price=50_000)
    result, _ = executed(tmp_path, [edit("a - b", "a + b")], limits=limits)
    assert result.cost == pytest.approx((100 * 10_000 + 20 * 50_000) / 1e6)


def test_executor_is_used_again_and_without_a_model_says_so(tmp_path: Path) -> None:
    with ScriptedModel([edit("a - b", "a + b")] * 2).serving() as model:
        executor = TaskExecutor(config_of(model), run_tests=run_calc)
        for name in ("a", "b"):
            workspace = repository(tmp_path / name, calc_py=WRONG)
            assert executor.execute(task(), workspace).tokens_used == 120
    with pytest.raises(errors.ImplementationError, match="no language model"):
        TaskExecutor().execute(task(), repository(tmp_path / "c"))


def test_hooks_directory_of_the_repository_is_not_written(tmp_path: Path) -> None:
    root = tmp_path / "作業"
    repository(root)
    with (root / ".git" / "config").open("a") as file:
        file.write("[core]\n\thooksPath = tools/hooks\n")
    answer = changes({"file_path": "tools/hooks/pre-commit", "operation": "create", "content": "x"})
    result, _ = executed(tmp_path, [answer], limits=Limits(rounds=1), run_tests=None)
    assert result.error_type == "SecurityError" and not (root / "tools").exists()


def test_file_that_git_ignores_is_refused_unless_the_answer_changes_that(tmp_path: Path) -> None:
    with (repository(tmp_path / "作業").path / ".gitignore").open("w") as file:
        file.write("made/\n")
    made = {"file_path": "made/日本.py", "operation": "create", "content": "x = 1\n"}
    rule = {"file_path": ".gitignore", "operation": "modify", "content": "*.pyc\n"}
    result, model = executed(tmp_path, [changes(made), changes(rule, made)], run_tests=None)
    assert "Git ignores made/日本.py" in model.prompts[1]
    assert result.success and result.files_changed == [".gitignore", "made/日本.py"]


def test_task_says_how_long_answers_may_be(tmp_path: Path) -> None:
    _, model = executed(tmp_path, [edit("a - b", "a + b")], fields={"max_tokens": 77})
    assert model.requests[0]["max_tokens"] == 77


def passing(context: TaskContext, workspace: Workspace) -> TestResult:
    return TestResult(True, [SingleTestResult("true", True, "", "", 0, 0.1)], 0.1)


def test_nothing_to_do_is_an_outcome_of_its_own(tmp_path: Path) -> None:
    fields = {"test_commands": ["true"]}
    answer = changes(explanation="it is right already")
    result, model = executed(tmp_path / "a", [answer], run_tests=passing, fields=fields)
    assert (result.success, result.error_type) == (False, "NothingToDoError")
    assert "it is right already" in str(result.error) and len(model.requests) == 1
    # Without a test that passes it is only what the model says.
    result, _ = executed(tmp_path / "b", [answer, answer], run_tests=passing)
    assert result.error_type == "EditError"


def test_unusable_answer_costs_a_round_and_not_the_task(tmp_path: Path) -> None:
    result, model = executed(tmp_path, ["well", "hm", edit("a - b", "a + b")])
    assert result.success and result.rounds == 2
    assert "no brace" in model.prompts[2]


def test_wrong_change_that_is_repeated_says_that_the_tests_still_fail(tmp_path: Path) -> None:
    wrong = changes({"file_path": "calc.py", "operation": "modify", "content": "x = 1\n"})
    result, model = executed(tmp_path, [wrong] * 3, limits=Limits(rounds=9))
    assert "changes nothing, and the tests still fail" in model.prompts[2]
    assert "assert wrong" in model.prompts[2]
    assert result.error_type == "TestExecutionError" and "tests still fail" in str(result.error)


def test_prompt_is_shortened_for_a_model_that_takes_less(tmp_path: Path) -> None:
    small = refusing(400, "prompt is too long: 20000 tokens > 9000 maximum")
    (tmp_path / "作業").mkdir()
    (tmp_path / "作業" / "long.txt").write_text("some words of a long file\n" * 1000)
    result, model = executed(
        tmp_path,
        [small, edit("a - b", "a + b")],
        fields={"related_files": ["calc.py", "long.txt"]},
    )
    assert result.success and result.rounds == 1
    before, after = (len(prompt) for prompt in model.prompts)
    assert after < 0.7 * before and "calc.py" in model.prompts[1]
