"""A model that asks to see more before it changes anything."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core.coding.model import ImplementationResult, SingleTestResult, TestResult
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner import TaskExecutor
from keruta_agent.runner.budget import Limits
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.executor import Runnable
from keruta_agent.runner.exploration.search import Searcher, SearchError
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes, refusing
from tests.helpers import coding
from tests.helpers.model_server import config_of, repository, task
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import Around

SECRET = "canary-secret-77f0c1"
FILLER = "# nothing to see\n" * 4000
WRONG = f"{FILLER}def rate():\n    return 3\n{FILLER}"
EDIT = "<<<<<<< SEARCH\n    return 3\n=======\n    return 4\n>>>>>>> REPLACE\n"
FIX = changes({"file_path": "shop/tax.py", "operation": "edit", "content": EDIT})


def asking(*asked: Mapping[str, Any], **more: Any) -> str:
    return json.dumps({"requests": list(asked), **more})


def read(path: str, lines: str = "") -> dict[str, str]:
    return {"action": "read", "path": path, "lines": lines}


def search(pattern: str, path: str = "") -> dict[str, str]:
    return {"action": "search", "pattern": pattern, "path": path}


def is_right(context: object, workspace: Any) -> TestResult:
    success = "return 4" in (workspace.path / "shop" / "tax.py").read_text()
    return TestResult(success, [SingleTestResult("t", success, "", "", int(not success), 0.1)], 0.1)


def executed(
    root: Path,
    turns: Sequence[Turn | str],
    *,
    limits: Limits = Limits(steps=5),  # noqa: B008 - it is frozen
    prepare: Callable[[Path], object] = lambda root: None,
    **options: Any,
) -> tuple[ImplementationResult, ScriptedModel, list[tuple[str, Mapping[str, Any]]]]:
    workspace = repository(
        root, shop__tax_py=WRONG, shop__note_txt=f"token = {SECRET}\nnext\n", README_md="# shop\n"
    )
    prepare(root)
    reported: list[tuple[str, Mapping[str, Any]]] = []
    with ScriptedModel(turns).serving() as model:
        executor = TaskExecutor(
            dataclasses.replace(config_of(model), tool_calls=options.pop("tool_calls", False)),
            run_tests=options.pop("run_tests", is_right),
            limits=limits,
            redactor=Redactor([SECRET]),
            report=lambda step, facts: reported.append((step, facts)),
            **{"prompt_tokens": 4000, **options},
        )
        given = task(title="Raise the rate", description="", test_commands=["t"])
        return executor.execute(given, workspace), model, reported


def test_model_searches_reads_and_then_changes_in_one_round(tmp_path: Path) -> None:
    turns = [asking(search(r"def \w+\(")), asking(read("./shop/tax.py", "3999-4003")), FIX]
    result, model, reported = executed(tmp_path, turns)
    assert result.success and (result.rounds, result.steps) == (1, 2)
    assert "return 3" not in model.prompts[0]
    assert "shop/tax.py:4001: def rate():" in model.prompts[1]
    assert "def rate():\n    return 3\n" in model.prompts[2]
    steps = [facts for step, facts in reported if step == "step_taken"]
    assert [facts["requests"] for facts in steps] == [
        [r"search 'def \\w+\\('"],
        ["read shop/tax.py lines 3999-4003"],
    ]
    schema = model.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["code_changes", "requests", "explanation"]


def test_without_steps_all_is_as_before(tmp_path: Path) -> None:
    old = json.dumps({**json.loads(FIX), "requests": [read("README.md")]})
    result, model, _ = executed(tmp_path, [old], limits=Limits())
    assert result.success and result.steps == 0
    assert "requests" not in model.prompts[0]
    schema = model.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["code_changes", "explanation"]


def git_ignored(root: Path) -> None:
    (root / ".gitignore").write_text("local.py\n")
    (root / "local.py").write_text("x = 'not of the project'\n")
    (root / ".env").write_text("A=hidden-in-env\n")
    (root.parent / "outside.txt").write_text("from outside\n")
    (root / "out").symlink_to("../outside.txt")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (read("../outside.txt"), "outside workspace"),
        (read("/etc/passwd"), "outside workspace"),
        (read("out"), "outside workspace"),
        (read(".git/config"), r"\.git directory"),
        (read(".env"), "holds secrets"),
        (read("local.py"), "ignored by git"),
        (read("missing.py"), r"there is no file missing\.py"),
        (read("README.md", "9-12"), "has 1 lines"),
        (search("(", ""), "pattern cannot be used: missing \\)"),
        (search("", ""), "1 to 500 characters"),
        (search("x", "../"), "outside workspace"),
        ({"action": "list", "path": "nowhere"}, "no file at or below nowhere"),
        ({"action": "run", "command": "t; cat /etc/passwd"}, "not allowed"),
        ({"action": "run", "command": "t"}, "no command can be run here"),
        ({"action": "grep", "path": "x"}, "there is no action 'grep'"),
        ("read README.md", "there is no action"),
    ],
)
def test_what_is_refused_costs_a_step_and_is_answered_with_the_reason(
    tmp_path: Path, asked: Any, reason: str
) -> None:
    result, model, reported = executed(tmp_path / "work", [asking(asked), FIX], prepare=git_ignored)
    assert result.success and result.steps == 1
    assert re.search(f"Refused: .*{reason}", model.prompts[1])
    assert re.search(reason, str(dict(reported)["step_taken"]["refused"]))
    for hidden in ("not of the project", "hidden-in-env", "from outside", "root:x"):
        assert hidden not in model.prompts[1]


def test_a_secret_is_neither_shown_nor_found_by_a_pattern(tmp_path: Path) -> None:
    asked = [search(f"token = {SECRET[:9]}"), search("token ="), read("shop/note.txt", "1-2")]
    whole = changes({"file_path": "shop/note.txt", "operation": "modify", "content": "x\n"})
    result, model, reported = executed(tmp_path, [asking(*asked), whole, FIX])
    assert result.success and "masked" in str(dict(reported)["changes_refused"]["reason"])
    shown = model.prompts[1]
    assert "Nothing matches" in shown and "shop/note.txt:1: token = ***" in shown
    assert "token = ***\nnext\n" in shown and SECRET not in str(model.requests)


def test_hostile_pattern_ends_in_its_time(tmp_path: Path) -> None:
    repository(tmp_path, a_txt="a" * 60 + "!\n")
    searcher = Searcher(
        tree=Tree(tmp_path),
        permissions=PermissionValidator(tmp_path),
        redactor=Redactor(),
        limit_s=0.5,
    )
    with pytest.raises(SearchError, match="takes longer than"):
        searcher.search("(a+)+$", ["a.txt"])
    with pytest.raises(SearchError, match="cannot be used"):
        searcher.search("(" * 250, ["a.txt"])


def test_search_finds_in_other_encodings_and_names_and_says_where_more_is(tmp_path: Path) -> None:
    workspace = repository(tmp_path, many_txt="needle\n" * 500, 計算__b_txt="合計 = 1\r\n")
    (tmp_path / "sjis.txt").write_bytes("合計 = 2\n".encode("cp932"))
    (tmp_path / "picture.bin").write_bytes(b"\0needle\n")
    searcher = Searcher(
        tree=Tree(workspace.path),
        permissions=PermissionValidator(workspace.path),
        redactor=Redactor(),
    )
    names = ["many.txt", "picture.bin", "sjis.txt", "計算/b.txt", "gone.txt"]
    assert searcher.search("合計", names) == "sjis.txt:1: 合計 = 2\n計算/b.txt:1: 合計 = 1"
    assert searcher.search("needle$", names).count("many.txt:") == 20


def test_model_that_only_asks_is_told_that_it_may_no_longer(tmp_path: Path) -> None:
    looks = [asking(read("README.md", f"{number}-{number}")) for number in range(1, 9)]
    result, model, _ = executed(tmp_path, looks, limits=Limits(rounds=1, steps=2))
    assert not result.success and result.steps == 2 and len(model.requests) == 4
    assert "that are left: 1." in model.prompts[1] and "to See More" not in model.prompts[2]
    assert "nothing more can be asked for" in model.prompts[3]


def test_half_of_the_tokens_are_kept_for_changes(tmp_path: Path) -> None:
    looks = [asking({"action": "list", "path": ""}), asking(read("README.md")), FIX]
    _, model, _ = executed(tmp_path, looks, limits=Limits(steps=9, tokens=400))
    assert "to See More" in model.prompts[1] and "to See More" not in model.prompts[2]


def test_requests_beside_changes_are_asked_again(tmp_path: Path) -> None:
    both = json.dumps({**json.loads(FIX), "requests": [read("README.md")]})
    result, model, _ = executed(tmp_path, [both, FIX])
    assert result.success and result.steps == 0
    assert "both requests and code_changes" in model.prompts[1]


def test_what_was_asked_before_is_not_done_again(tmp_path: Path) -> None:
    listing = {"action": "list", "path": "shop"}
    result, model, _ = executed(tmp_path, [asking(listing), asking(listing), FIX])
    assert result.success and "asked before" in model.prompts[2]
    assert model.prompts[1].count("note.txt\ntax.py") == 1


def test_after_a_change_files_are_shown_anew_and_outputs_are_forgotten(tmp_path: Path) -> None:
    wrong = FIX.replace("return 4", "return 5")
    looks = asking(read("shop/tax.py", "4001-4002"), search("return 3"))
    fix = FIX.replace("return 3", "return 5")
    result, model, _ = executed(tmp_path, [looks, wrong, fix])
    assert result.success and (result.rounds, result.steps) == (2, 1)
    assert "shop/tax.py:4002:" in model.prompts[1] and "tax.py:4002:" not in model.prompts[2]
    assert "def rate():\n    return 5\n" in model.prompts[2]


def test_answers_stay_within_the_tokens_of_a_prompt(tmp_path: Path) -> None:
    looks = [asking(*(read("shop/tax.py", f"{n}-{n + 900}") for n in range(1, 9))), FIX]
    _, model, _ = executed(tmp_path, looks)
    assert len(model.prompts[1]) < 4 * 4200 and "no room for all" in model.prompts[1]


def test_test_command_runs_and_its_output_is_shown_without_secrets(tmp_path: Path) -> None:
    def run(command: str) -> SingleTestResult:
        return SingleTestResult(command, False, f"{SECRET} 1 failed", "", 3, 0.1)

    look = asking({"action": "run", "command": "t"})
    result, model, _ = executed(tmp_path, [look, FIX], runnable=Runnable(commands=("t",), run=run))
    assert result.success and "*** 1 failed\n(exit code 3)" in model.prompts[1]


def test_run_leaves_nothing_and_its_steps_are_in_registry_log_and_evidence(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    look = asking({"action": "run", "command": coding.TESTS}, read(".git/config"))
    turns = [look, *coding.says(coding.RIGHT)]
    with coding.runner_with(tmp_path, turns, around) as (runner, model):
        result = runner.run(coding.task(repository))
    assert result.success, result.error
    assert result.impl_result is not None and result.impl_result.steps == 1
    assert result.impl_result.files_changed == ["half.py"]
    assert "AssertionError: 4 != 2" in model.prompts[1]
    log = "\n".join(runner.execution_logs)
    assert "step 1 of at most 10: the model asks to run" in log and "refused: '.git/config'" in log
    stored = around.registry.get_task("1.1", spec_name="数学")
    step = next(event for event in stored["events"] if event["event_type"] == "step_taken")
    assert step["data"]["requests"][1] == "read .git/config" and len(step["data"]["refused"]) == 1


def calling(*calls: tuple[str, Mapping[str, Any]], **more: Any) -> Turn:
    listed = [
        {
            "index": index,
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(given)},
        }
        for index, (name, given) in enumerate(calls)
    ]
    message = {"tool_calls": listed}
    return Turn(content=None, message=message, finish_reason="tool_calls", **more)


@pytest.mark.parametrize("streams", [True, False])
def test_model_may_ask_by_calling_functions(tmp_path: Path, streams: bool) -> None:
    look = calling(
        ("read", {"path": "shop/tax.py", "lines": "4001-4002"}),
        ("list", {"path": "shop"}),
        streams=streams,
    )
    result, model, _ = executed(tmp_path, [look, FIX], tool_calls=True)
    assert result.success and result.steps == 1
    offered = [tool["function"]["name"] for tool in model.requests[0]["tools"]]
    assert offered == ["read", "search", "list", "run"]
    assert "def rate():\n    return 3\n" in model.prompts[1]
    assert "note.txt\ntax.py" in model.prompts[1]


def test_calls_are_understood_where_none_were_offered(tmp_path: Path) -> None:
    look = calling(("read", {"path": "README.md"}))
    result, model, _ = executed(tmp_path, [look, FIX])
    assert result.success and result.steps == 1 and "tools" not in model.requests[0]


@pytest.mark.parametrize(
    "said",
    [
        "registry.ollama.ai/library/gemma:2b does not support tools",
        "tools param requires --jinja flag",
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        "Function calling with a response mime type: 'application/json' is unsupported",
        "Cannot use custom grammar constraints with tools.",
        "bad request",
    ],
)
def test_server_without_tools_is_asked_without_them(tmp_path: Path, said: str) -> None:
    turns = [refusing(400, said), asking(read("README.md")), FIX]
    result, model, _ = executed(tmp_path, turns, tool_calls=True)
    assert result.success and result.steps == 1
    assert ["tools" in request for request in model.requests] == [True, False, False]
