"""What the prompt says of a workspace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.model import prompt
from keruta_agent.runner.model.reply import estimated_tokens
from tests.helpers.model_server import repository, task


def built(root: Path, *, limit_tokens: int = 60_000, **fields: object) -> prompt.Prompt:
    options: dict[str, object] = {
        name: fields.pop(name) for name in ("failed", "touched", "redactor") if name in fields
    }
    return prompt.build(
        task(**fields),
        Tree(root),
        PermissionValidator(root),
        limit_tokens=limit_tokens,
        **{"redactor": Redactor(), **options},  # type: ignore[arg-type]
    )


def test_prompt_holds_the_sections_of_the_contract_in_order(tmp_path: Path) -> None:
    repository(tmp_path, calc_py="def add(a, b):\n    return a - b\n", README_md="計算\n")
    text = built(
        tmp_path,
        acceptance_criteria=["1 + 1 は 2", "tests pass"],
        dependencies=["1.0"],
        required_skill="backend",
        related_files=["calc.py"],
        metadata={"language": "Python"},
        failed="E  assert 0 == 2",
    ).text
    expected = [
        *("# Task: Fix the addition", "## Description", "## Acceptance Criteria"),
        *("1. 1 + 1 は 2", "## Completed Dependencies", "- Task 1.0"),
        *("## Current Workspace Structure", "README.md", "## Related Files", "### calc.py"),
        *("return a - b", "assert 0 == 2", "## Technical Context", "backend", "language: Python"),
        *("## Instructions", "JSON", "code_changes", "<<<<<<< SEARCH"),
    ]
    places = [text.find(part) for part in expected]
    assert -1 not in places and places == sorted(places)


def test_files_that_the_task_or_the_failure_names_are_shown_first(tmp_path: Path) -> None:
    big = "x = 1\n" * 3000
    repository(tmp_path, src__calc_py="SUM = 1\n", src__other_py=big, tests__test1_py="TEST = 1\n")
    found = built(
        tmp_path, description="Look at calc.py", failed="tests/test1.py:3: AssertionError"
    )
    assert found.shown[:2] == ("src/calc.py", "tests/test1.py")
    assert "SUM = 1" in found.text and "TEST = 1" in found.text


def test_nothing_from_outside_is_in_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("CANARY-1\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep.txt").write_text("CANARY-2\n")
    root = tmp_path / "workspace"
    repository(root, calc_py="x = 1\n")
    (root / "link.txt").symlink_to("../outside.txt")
    (root / "linked").symlink_to("../out")
    os.mkfifo(root / "pipe")
    (root / ".git" / "note").write_text("CANARY-3\n")
    names = ["../outside.txt", str(tmp_path / "outside.txt"), "link.txt", "linked/deep.txt"]
    names += ["linked", "pipe", ".git/note", ".GIT/note", "/etc/passwd", "~/.bashrc", "a\0b", ""]
    found = built(root, related_files=[*names, str(root / "calc.py")])
    assert "CANARY" not in found.text and "root:" not in found.text
    assert found.shown == ("calc.py",)
    assert "Not shown" in found.text


def test_secrets_are_masked_and_secret_files_left_out(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    files = {
        "settings_py": f'NAME = "app"\nTOKEN = "{token}"\n',
        "_env": "DB_PASSWORD=correct-horse-battery\n",
        "server_pem": "CANARY\n",
        "_env_example": "DB_PASSWORD=\n",
    }
    repository(tmp_path, **files)
    found = built(
        tmp_path,
        related_files=["settings.py", ".env", "server.pem", ".env.example"],
        description=f"The key is {token}",
        metadata={
            "repo_url": "https://me:geheim-1@example.com/r.git",
            "mirror": "https://me:geheim-2@example.com/r.git",
            "deploy_token": "geheim-3",
        },
        failed="connected with hunter2-hunter2",
        redactor=Redactor(["hunter2-hunter2"]),
    )
    for secret in (token, "battery", "CANARY", "geheim", "hunter2"):
        assert secret not in found.text
    assert 'NAME = "app"' in found.text and "connected with ***" in found.text
    assert found.masked == {"settings.py"}
    assert found.shown == ("settings.py", ".env.example")


def test_prompt_stays_within_its_limit_and_keeps_the_task(tmp_path: Path) -> None:
    files = {f"src__m{number}_py": f"# 説明 {number}\n" * 400 for number in range(40)}
    repository(tmp_path, **files, big_py="value = 1\n" * 20_000)
    for limit in (2_000, 5_000, 20_000):
        found = built(
            tmp_path, limit_tokens=limit, related_files=["big.py", "src"], failed="E\n" * 9999
        )
        assert estimated_tokens(found.text) <= limit
        assert "add() gives the wrong sum." in found.text and "## Instructions" in found.text
    assert "big.py (a part)" in found.text and "big.py" in found.masked


def test_task_that_is_longer_than_a_prompt_is_refused(tmp_path: Path) -> None:
    repository(tmp_path)
    with pytest.raises(errors.ImplementationError, match=r"llm\.prompt_tokens"):
        built(tmp_path, limit_tokens=1000, description="説明" * 1000)


def test_fences_of_a_file_do_not_end_its_own(tmp_path: Path) -> None:
    repository(tmp_path, README_md="```sh\nls\n```\n````\n")
    assert "\n`````\n```sh\nls\n```\n````\n`````\n" in built(tmp_path).text


def test_workspace_without_git_is_walked(tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "x.js").write_text("CANARY\n")
    (tmp_path / "日本.py").write_text("x = 1\n")
    text = built(tmp_path).text
    assert "### 日本.py" in text and "CANARY" not in text and "node_modules" not in text


def test_definitions_of_files_without_room_are_listed_those_of_the_task_first(
    tmp_path: Path,
) -> None:
    filler = "# nothing\n" * 6000
    files = {f"area{number}__part_py": f"def part{number}(): ...\n{filler}" for number in range(9)}
    ledger = f"class Ledger:\n    def balance(self, day): ...\n{filler}"
    repository(tmp_path, **files, zone__books_py=ledger, small_py="def small(): ...\n")
    text = built(tmp_path, description="The balance of a ledger is wrong").text
    listed = text[text.index("## Definitions in Files That Are Not Shown") :]
    assert listed.index("1 class Ledger") < listed.index("2   def balance(self, day)")
    assert listed.index("zone/books.py") < listed.index("area0/part.py")
    assert "small.py" not in listed[: listed.index("## Other Files")]


def test_definitions_of_secret_files_and_small_projects_are_not_listed(tmp_path: Path) -> None:
    repository(tmp_path, calc_py="def add(a, b): ...\n", secrets_json="{}", pw_key="def x(): ..")
    assert "Definitions" not in built(tmp_path).text
