"""Changes that would make tests pass by changing the tests: none of it is tested or pushed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.runner import RunnerResult
from keruta_agent.runner.checks import trials
from keruta_agent.testing.language_model import changes
from tests.helpers.coding import BRANCH, runner_with, slot_in, task
from tests.helpers.repositories import Repository, git, make_repository

PYTEST = f"{sys.executable} -m pytest -q tests"
UNITTEST = f"{sys.executable} -m unittest unit/test_unit.py"
BROKEN = "def add(a, b):\n    return a - b\n\n\ndef half(n):\n    return n / 2\n"
FIXED = BROKEN.replace("a - b", "a + b")
TEST = """\
from calc import add, half


def test_add():
    assert add(2, 3) == 5


def test_half():
    assert half(5) == 2.5
"""
UNIT = """\
import unittest
from calc import add, half


class Calc(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(2, 3), 5)

    def test_half(self):
        self.assertEqual(half(5), 2.5)
"""
FILES = {
    "calc.py": BROKEN,
    "tests/test_calc.py": TEST,
    "pyproject.toml": '[project]\nname = "calc"\nversion = "1"\n',
    "Makefile": f"test:\n\t{UNITTEST}\n",
    "unit/test_unit.py": UNIT,
    ".gitignore": "__pycache__/\n",
}


@dataclasses.dataclass
class Bench:
    """One project in which ``add`` is wrong, and runs of tasks to mend it."""

    path: Path
    repository: Repository
    prompts: list[str] = dataclasses.field(default_factory=list)

    def run(
        self,
        *answers: Any,
        command: str | list[str] = PYTEST,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> RunnerResult:
        slot = slot_in(self.path, self.repository)
        commands = [command] if isinstance(command, str) else command
        given = task(
            slot_path=str(slot), test_commands=commands, metadata=dict(metadata or {}), **more
        )
        with runner_with(self.path, list(answers)) as (runner, model):
            result = runner.run(given)
            self.prompts = model.prompts
        return result

    @property
    def is_pushed(self) -> bool:
        return BRANCH in self.repository.branches

    def pushed(self, path: str) -> str:
        return git(self.repository.path, "show", f"{BRANCH}:{path}")

    @property
    def message(self) -> str:
        return git(self.repository.path, "log", "-1", "--format=%B", BRANCH)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("PYTHONPATH", ".")
    # Those of this project would take most of the time.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    yield Bench(tmp_path, make_repository(tmp_path / "calc.git", FILES))


def writes(**files: str | None) -> str:
    """Return an answer: what is there is replaced, None deletes."""
    return changes(*[_change(name, content) for name, content in files.items()])


def _change(name: str, content: str | None) -> dict[str, str]:
    path = name.replace("__", "/").replace("_py", ".py")
    path = {"pyproject": "pyproject.toml", "gitignore": ".gitignore"}.get(path, path)
    if content is None:
        return {"file_path": path, "operation": "delete", "content": ""}
    operation = "modify" if path in FILES else "create"
    return {"file_path": path, "operation": operation, "content": content}


def test_honest_change_is_pushed_with_what_its_tests_said(bench: Bench) -> None:
    result = bench.run(writes(calc_py=FIXED), command=PYTEST)

    assert result.success, result.error
    assert bench.pushed("calc.py") == FIXED.rstrip("\n")
    assert result.verification is not None
    assert result.verification.status == "tested"
    assert "2 passed (pytest)" in result.verification.basis
    assert "1 passed, 1 failed (pytest)" in result.verification.baseline[0]
    assert "Runner-Tests: " in bench.message
    assert "2 passed (pytest)" in bench.message


def test_changes_of_what_decides_are_taken_back_and_named(bench: Bench) -> None:
    cheats = {
        "tests__test_calc_py": None,
        "unit__test_unit_py": UNIT.replace("self.assertEqual(add(2, 3), 5)", "pass"),
        "conftest_py": "collect_ignore_glob = ['*']\n",
        "Makefile": "test:\n\ttrue\n",
        "GNUmakefile": "test:\n\ttrue\n",
        "unittest_py": "print('Ran 2 tests in 0.1s')\n",
        "sitecustomize_py": "import os\nos._exit(0)\n",
        "pyproject": FILES["pyproject.toml"] + '[tool.pytest.ini_options]\naddopts = "-k half"\n',
    }
    result = bench.run(writes(**cheats), writes(calc_py=FIXED), command="make test")

    assert result.success, result.error  # the second answer is honest
    changed = git(bench.repository.path, "diff", "--name-only", "main", BRANCH).split()
    assert changed == ["calc.py"]
    assert result.verification is not None
    taken_back = {text.partition(":")[0] for text in result.verification.reverted}
    assert taken_back == {_change(name, None)["file_path"] for name in cheats}
    assert "Runner-Reverted: GNUmakefile" in bench.message
    assert all(path in bench.prompts[1] for path in taken_back)
    assert "self.assertEqual(add(2, 3), 5)" in bench.prompts[1]
    assert result.impl_result is not None
    assert result.impl_result.files_changed == ["calc.py"]


def test_cheat_alone_is_never_pushed_and_the_next_prompt_quotes_its_line(bench: Bench) -> None:
    answer = writes(unit__test_unit_py=UNIT.replace("add(2, 3), 5", "add(2, 3), -1"))
    result = bench.run(answer, answer, command=UNITTEST)

    assert (result.success, result.error_type) == (False, "TestExecutionError")
    assert not bench.is_pushed
    assert "line 7: -        self.assertEqual(add(2, 3), 5)" in bench.prompts[1]
    assert "nothing is left of the change" in bench.prompts[1]


ENDS_LATE = BROKEN + "import atexit, os\natexit.register(os._exit, 0)\n"
SKIPS = BROKEN.replace("    return a - b", "    import unittest\n    raise unittest.SkipTest('x')")


@pytest.mark.parametrize(
    ("code", "command", "told"),
    [
        (BROKEN + "import os\nos._exit(0)\n", PYTEST, "no tests"),
        (ENDS_LATE, PYTEST, "tests fail: tests.test_calc::test_add"),
        (ENDS_LATE, UNITTEST, "tests fail: test_add"),
        (SKIPS, UNITTEST, "fewer tests ran"),
        (SKIPS, f"{UNITTEST} -v", "skipped: test_add"),
    ],
)
def test_code_that_keeps_tests_from_failing_is_not_accepted(
    bench: Bench, code: str, command: str, told: str
) -> None:
    result = bench.run(writes(calc_py=code), writes(calc_py=code), command=command)

    assert not result.success
    assert not bench.is_pushed
    assert result.test_result is not None
    assert any(told in fault for fault in result.test_result.faults), result.test_result.faults


def test_code_that_changes_the_tests_while_they_run_gains_nothing(bench: Bench) -> None:
    code = BROKEN + (
        "import pathlib\npathlib.Path('tests/test_calc.py').write_text('')\n"
        "pathlib.Path('conftest.py').write_text('collect_ignore_glob = [\"*\"]')\n"
    )
    commands = [f"{sys.executable} -c 'import calc'", PYTEST]
    result = bench.run(writes(calc_py=code), writes(calc_py=code), command=commands)

    assert not result.success
    assert not bench.is_pushed
    assert result.test_result is not None
    assert "assert -1 == 5" in result.test_result.test_results[-1].stdout


def test_settings_that_git_is_made_to_ignore_are_refused(bench: Bench) -> None:
    answer = writes(gitignore="conftest.py\n", conftest_py="collect_ignore_glob = ['tests/*']\n")
    result = bench.run(answer, answer, command="true")

    assert not result.success
    assert "Git would ignore conftest.py" in str(result.error)
    assert not bench.is_pushed


def test_task_may_allow_changes_of_tests(bench: Bench) -> None:
    test = UNIT.replace("add(2, 3), 5", "add(2, 3), -1")
    result = bench.run(
        writes(unit__test_unit_py=test),
        command=UNITTEST,
        metadata={"allow_test_changes": ["unit/"]},
    )

    assert result.success, result.error
    assert bench.pushed("unit/test_unit.py") == test.rstrip("\n")
    assert result.verification is not None
    assert "the task allows it" in result.verification.allowed[0]
    assert "Runner-Tests-Changed: unit/test_unit.py" in bench.message
    assert "- allow_test_changes: unit\n" in bench.prompts[0]


def test_new_test_counts_only_if_it_fails_without_the_change(bench: Bench) -> None:
    good = "from calc import add\n\ndef test_negative():\n    assert add(-1, -1) == -2\n"
    idle = "def test_truth():\n    assert True\n"
    answer = writes(calc_py=FIXED, tests__test_good_py=good, tests__test_idle_py=idle)
    result = bench.run(answer, command=PYTEST)

    assert result.success, result.error
    assert result.verification is not None
    assert result.verification.new_tests == ["tests.test_good::test_negative"]
    assert result.verification.not_counted == [
        "tests.test_idle::test_truth: does not fail without the change"
    ]
    assert "Runner-New-Tests: tests.test_good::test_negative" in bench.message


def test_new_test_cannot_make_the_others_pass(bench: Bench) -> None:
    reaching = "import calc\ncalc.add = lambda a, b: a + b\n" + UNIT
    answer = writes(unit__test_a_py=reaching)
    command = f"{sys.executable} -m unittest discover -s unit"
    result = bench.run(answer, answer, command=command)

    assert not result.success
    assert not bench.is_pushed
    assert result.test_result is not None
    assert result.test_result.faults[0].startswith("without the new tests (unit/test_a.py)")


def test_change_without_test_commands_is_pushed_as_untested(bench: Bench) -> None:
    result = bench.run(writes(calc_py=FIXED), command=[])

    assert result.success, result.error
    assert result.verification is not None
    assert (result.verification.status, result.verification.basis) == (
        *("untested", "no test commands"),
    )
    assert "Runner-Tests: UNTESTED, no test commands" in bench.message


FLAKY = """\
import pathlib, unittest

SEEN = pathlib.Path("../seen")


class Flaky(unittest.TestCase):
    def test_flaky(self):
        runs = len(SEEN.read_text()) if SEEN.exists() else 0
        SEEN.write_text("x" * (runs + 1))
        self.assertNotEqual(runs, 1, "fails the second time that it runs")
"""


def test_failure_of_a_test_that_the_change_does_not_touch_is_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, make_repository(tmp_path / "f.git", FILES | {"test_flaky.py": FLAKY}))
    result = bench.run(writes(calc_py=FIXED), command=f"{sys.executable} -m unittest test_flaky")

    assert result.success, result.error
    assert result.verification is not None
    assert result.verification.flaky == ["test_flaky (test_flaky.Flaky.test_flaky)"]
    assert "Runner-Flaky: test_flaky" in bench.message


def test_test_that_does_not_always_fail_before_the_change_is_named(tmp_path: Path) -> None:
    flaky = FLAKY.replace("runs, 1, ", "runs, 0, ")
    bench = Bench(tmp_path, make_repository(tmp_path / "f.git", FILES | {"test_flaky.py": flaky}))
    command = f"{sys.executable} -m unittest test_flaky"
    result = bench.run(writes(calc_py=FIXED), command=command)

    assert result.success, result.error
    assert result.verification is not None
    assert result.verification.flaky == ["test_flaky (test_flaky.Flaky.test_flaky)"]
    assert "1 failed" in result.verification.baseline[0]
    # Twice before the change, once with it.
    assert (tmp_path / "seen").read_text() == "xxx"


def test_failing_test_is_not_run_twice_where_the_time_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_REPEATS", 1_000_000)
    flaky = FLAKY.replace("runs, 1, ", "runs, 0, ")
    bench = Bench(tmp_path, make_repository(tmp_path / "f.git", FILES | {"test_flaky.py": flaky}))
    result = bench.run(writes(calc_py=FIXED), command=f"{sys.executable} -m unittest test_flaky")

    assert result.verification is not None
    assert result.verification.flaky == []
    assert (tmp_path / "seen").read_text() == "xx"
