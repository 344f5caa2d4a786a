"""Which files of a repository decide about a change."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from keruta_agent.runner.checks.suite.suite import Part, Suite

BASE = {
    "calc.py": "def add(a, b): ...",
    "tests/test_calc.py": "def test_add(): ...",
    "tests/data/expected.txt": "5",
    "README.md": "Run pytest.",
}


def part(
    path: str,
    after: str | None = "changed",
    *,
    base: Mapping[str, str] = BASE,
    commands: tuple[str, ...] = ("python3 -m pytest",),
    more: tuple[str, ...] = (),
) -> Part:
    """Return what a file is that a change makes, alters or (None) deletes."""

    def read(name: str) -> bytes | None:
        return base[name].encode() if name in base else None

    suite = Suite(base, read, commands, more=more)
    judged = suite.judge(path, read, lambda _: None if after is None else after.encode())
    return judged.part


@pytest.mark.parametrize(
    "path",
    [
        *("tests/test_calc.py", "tests/data/expected.txt", "pkg/thing_test.go", "web/App.test.tsx"),
        *(
            "src/test/java/FooTest.java",
            "spec/models/user_spec.rb",
            "lib/__tests__/a.js",
            "test.sh",
        ),
        *("a/b_test.py", "run_tests.sh", "it.bats", "src/a.spec.mjs", "__snapshots__/a.snap"),
    ],
)
def test_existing_test_decides(path: str) -> None:
    assert part(path, base={**BASE, path: "x"}) is Part.DECIDES
    assert part(path, None, base={**BASE, path: "x"}) is Part.DECIDES
    if path not in BASE:
        assert part(path) is Part.NEW_TEST


@pytest.mark.parametrize(
    "path",
    [
        *("calc.py", "src/contest.py", "latest.py", "pkg/testing.py", "attestation/load.py"),
        *("README.md", "docs/testing.md", "src/inspect.js", "protest.go", "requirements.txt"),
    ],
)
def test_other_files_are_free(path: str) -> None:
    assert part(path, base={**BASE, path: "x"}) is Part.NONE
    assert part(path) is Part.NONE


@pytest.mark.parametrize(
    "path",
    [
        *(
            "conftest.py",
            "tests/conftest.py",
            "pytest.ini",
            ".pytest.ini",
            "tox.ini",
            ".coveragerc",
        ),
        *("jest.config.ts", "vitest.config.mts", ".mocharc.json", ".npmrc", "sitecustomize.py"),
        *(
            "pytest.py",
            "unittest/__init__.py",
            "src/_pytest/main.py",
            "hidden.pth",
            ".mvn/jvm.config",
        ),
    ],
)
def test_configuration_decides_new_or_not(path: str) -> None:
    assert part(path) is Part.DECIDES
    assert part(path, base={**BASE, path: "x"}) is Part.DECIDES


def test_configuration_of_new_tests_alone_belongs_to_them() -> None:
    assert part("tests/more/conftest.py") is Part.NEW_TEST


def test_project_without_tests_may_be_given_all_of_them() -> None:
    base = {"README.md": "A project to be"}
    assert part("conftest.py", base=base) is Part.NONE
    assert part("pyproject.toml", "[tool.pytest.ini_options]\n", base=base) is Part.NONE
    assert part("tests/test_new.py", base=base) is Part.NEW_TEST


def test_module_that_unittest_would_find_is_a_test_only_if_it_holds_one() -> None:
    base = {**BASE, "testcalc.py": "import unittest\n", "testbed.py": "class Bed: ..."}
    assert part("testcalc.py", base=base) is Part.DECIDES
    assert part("testbed.py", base=base) is Part.NONE


def test_settings_name_more_tests() -> None:
    base = {**BASE, "golden/a.txt": "x", "src/deep/golden.json": "{}"}
    for path in ("golden/a.txt", "src/deep/golden.json"):
        assert part(path, base=base, more=("golden", "src/*.json")) is Part.DECIDES
        assert part(path, base=base) is Part.NONE


PACKAGE = {
    "scripts": {"test": "npm run lint && node run.js", "lint": "eslint .", "start": "node ."},
    "dependencies": {"a": "1"},
    "jest": {"testMatch": ["**/*.test.js"]},
}
PYPROJECT = '[project]\nname = "calc"\n[tool.pytest.ini_options]\naddopts = "-q"\n'
CARGO = '[package]\nname = "a"\n[lib]\npath = "src/lib.rs"\n'
POM = "<project>\n<dependency>a</dependency>\n</project>\n"


def _package(**change: object) -> str:
    return json.dumps({**PACKAGE, **change})


@pytest.mark.parametrize(
    ("path", "before", "free", "decides"),
    [
        (
            *("package.json", _package(), _package(dependencies={"a": "2", "b": "1"})),
            _package(scripts={**PACKAGE["scripts"], "lint": "true"}),  # type: ignore[dict-item]
        ),
        ("package.json", _package(), _package(version="2"), _package(jest={})),
        (
            *("pyproject.toml", PYPROJECT, PYPROJECT.replace("calc", "calculator")),
            PYPROJECT.replace("-q", "-q -k half"),
        ),
        ("pyproject.toml", PYPROJECT, PYPROJECT + "[tool.ruff]\n", "not = = toml"),
        (
            *("setup.cfg", "[metadata]\nname = a\n", "[metadata]\nname = b\n"),
            "[metadata]\nname = a\n[tool:pytest]\naddopts = --co\n",
        ),
        ("Cargo.toml", CARGO, CARGO + "[dependencies]\nb = '1'\n", CARGO + "test = false\n"),
        ("pom.xml", POM, POM.replace(">a<", ">b<"), POM.replace("a<", "<skipTests>true<")),
    ],
)
def test_of_a_shared_file_only_the_part_about_tests_decides(
    path: str, before: str, free: str, decides: str
) -> None:
    base = {**BASE, path: before}
    assert part(path, free, base=base) is Part.NONE
    assert part(path, decides, base=base) is Part.DECIDES


@pytest.mark.parametrize(
    ("command", "path", "content"),
    [
        ("make test", "Makefile", "test:\n\tpytest\n"),
        ("cd sub && make check", "sub/Makefile", "check:\n"),
        ("make -C sub check", "sub/GNUmakefile", "check:\n"),
        ("./ci/run.sh unit", "ci/run.sh", "exec tools/go.sh"),
        ("bash scripts/verify.sh", "scripts/verify.sh", "true"),
        ("sh all-of-it", "all-of-it", "python3 -m pytest -q"),
        ("python3 quality.py", "quality.py", "import pytest\npytest.main([])"),
        ("just test", "justfile", "test:\n  pytest\n"),
    ],
)
def test_what_a_test_command_runs_decides(command: str, path: str, content: str) -> None:
    assert part(path, base={**BASE, path: content}, commands=(command,)) is Part.DECIDES
    assert part(path, base={**BASE, path: content}) is Part.NONE


def test_what_a_script_for_tests_runs_decides_too() -> None:
    base = {**BASE, "Makefile": "test:\n\tsh tools/ci.sh\n", "tools/ci.sh": "sh more.sh; include"}
    base["more.sh"] = "go test ./..."
    assert part("more.sh", base=base, commands=("make test",)) is Part.DECIDES


@pytest.mark.parametrize(
    ("command", "path", "content"),
    [
        ("./tool.sh --selftest", "tool.sh", "echo hi"),
        ("grep -q pytest README.md", "README.md", "Run pytest."),
        ("python3 calc.py | grep 5", "calc.py", "print(5)  # see pytest"),
        ("python3 -m pytest tests", "calc.py", "x"),
    ],
)
def test_program_that_a_task_is_about_is_free_though_a_command_runs_it(
    command: str, path: str, content: str
) -> None:
    assert part(path, base={**BASE, path: content}, commands=(command,)) is Part.NONE
