"""The names by which test frameworks know tests, and their own settings."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

#: Directories below which everything belongs to tests: helpers, data, expected outputs.
_DIRECTORIES: Final = frozenset(
    {"tests", "test", "__tests__", "__mocks__", "__snapshots__", "testdata", "e2e", "cypress"}
)
_SCRIPT: Final = ("js", "cjs", "mjs", "ts", "cts", "mts", "jsx", "tsx")
_TESTS: Final = (
    *("test_*.py", "*_test.py", "tests.py", "test.py", "*_test.go", "*.bats", "*.t"),
    *(f"*[._-]{word}.{ending}" for word in ("test", "spec") for ending in _SCRIPT),
    *(f"test{more}.{ending}" for more in ("", "-*", "_*") for ending in _SCRIPT),
    *("*_spec.rb", "*_test.rb", "test_*.rb", "spec_helper.rb", "rails_helper.rb"),
    *("*test.java", "*tests.java", "test*.java", "*it.java", "*test.kt", "*tests.kt"),
    *("*spec.groovy", "*spec.scala", "*test.scala", "*tests.cs", "*test.cs", "*test.php"),
    *("*_test.exs", "*_test.dart", "*tests.swift", "*test.swift", "*.feature", "*.snap"),
    *("*_test.c", "test_*.c", "*_test.cc", "*_test.cpp", "test_*.cpp", "*_unittest.cc"),
    *(
        f"{name}.{ending}"
        for name in (
            "test",
            "tests",
            "*[_-]test",
            "*[_-]tests",
            "test[_-]*",
            "run[_-]tests",
            "runtests",
        )
        for ending in ("sh", "bash", "ksh", "zsh")
    ),
    *("run-tests", "run_tests", "runtests", "runtests.py", "run_tests.py", "run-tests.py"),
)
#: Settings of frameworks, and what their programs load or obey by itself.
_SETUPS: Final = (
    *("conftest.py", "pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini"),
    *("tox.toml", "noxfile.py", ".coveragerc", "sitecustomize.py", "usercustomize.py", "*.pth"),
    *("nose.cfg", ".noserc", "unittest.cfg", ".stestr.conf", ".testr.conf", "pyvenv.cfg"),
    *("jest.config.*", "jest.setup.*", "jest-*.config.*", "vitest.config.*", "vitest.setup.*"),
    *("vitest.workspace.*", ".mocharc*", "mocha.opts", "karma.conf.*", "playwright.config.*"),
    *("cypress.config.*", "cypress.json", "ava.config.*", ".nycrc*", ".c8rc*", ".taprc"),
    *("babel.config.*", ".babelrc*", ".npmrc", ".yarnrc*", ".pnpmfile.*", ".rspec"),
    *("phpunit.xml*", "testng.xml", "junit-platform.properties", "ctestcustom.*"),
    *("ctesttestfile.*", ".bazelrc", ".proverc"),
)
_SETUP_DIRECTORIES: Final = (".mvn", ".cargo")
#: Names that would be imported instead of a framework's own: a command begins at the top.
_FRAMEWORKS: Final = frozenset(
    {"pytest", "_pytest", "unittest", "pluggy", "iniconfig", "doctest", "nose", "nose2", "tox"}
)
#: In a file that unittest would find, and that may be something else as well.
_PYTHON_TEST: Final = re.compile(rb"^\s*(?:import|from)\s+(?:unittest|pytest)\b", re.M)


def _any_of(globs: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(fnmatch.translate, globs)))


_TEST_NAME: Final = _any_of(_TESTS)
_SETUP_NAME: Final = _any_of(_SETUPS)


def is_setup(path: str) -> bool:
    """Return whether a file configures tests, or would be loaded in a framework's place."""
    return bool(_SETUP_NAME.fullmatch(PurePosixPath(path.lower()).name)) or steers_all(path)


def steers_all(path: str) -> bool:
    """Return whether such a file reaches beyond its own directory."""
    parts = PurePosixPath(path.lower()).parts
    first = parts[1] if parts[0] == "src" and len(parts) > 1 else parts[0]
    return parts[0] in _SETUP_DIRECTORIES or first.removesuffix(".py") in _FRAMEWORKS


def is_test(path: str, content: bytes | None = None) -> bool:
    """Return whether a file is a test, or belongs to tests; ``content`` helps to know."""
    place = PurePosixPath(path.lower())
    if _TEST_NAME.fullmatch(place.name) or _DIRECTORIES.intersection(place.parts[:-1]):
        return True
    if "spec" in place.parts[:-1] and place.suffix == ".rb":
        return True
    is_found = place.name.startswith("test") and place.suffix == ".py"
    return is_found and content is not None and bool(_PYTHON_TEST.search(content))


def matches(path: str, globs: Iterable[str]) -> bool:
    """Return whether a path matches one of these globs, or lies below a directory of one."""
    return any(
        fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(path, f"{glob.rstrip('/')}/*")
        for glob in globs
    )
