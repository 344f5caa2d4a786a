"""The parts of a project's files that are about its tests, where the rest may change freely."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

#: What is about tests in a file, in a form that can be compared; None for nothing.
Section = Any

_OF_PYTHON: Final = (
    "pytest",
    "tox",
    "nox",
    "coverage",
    "hatch",
    "poe",
    "pdm",
    "taskipy",
    "setuptools_pytest",
)
_OF_NODE: Final = ("jest", "mocha", "ava", "vitest", "nyc", "c8", "tap", "babel", "cypress")
_RUN: Final = re.compile(r"\b(?:npm|pnpm|yarn|bun)(?:\s+run)?\s+([\w:.-]+)")
_INI: Final = re.compile(r"(?:tool:pytest|pytest|tox|testenv|coverage|aliases|nosetests)\b.*")
_CARGO: Final = ("test", "bench")


def of(path: str, content: bytes | None) -> Section:
    """Return the part of a file that is about tests; a file that cannot be read is all of it."""
    if not content:
        return None
    reader = _READERS.get(PurePosixPath(path).name)
    if reader is None:
        return None
    text = content.decode("utf-8", errors="replace")
    try:
        return reader(text) or None
    except (ValueError, RecursionError, configparser.Error):
        return text


def _pyproject(text: str) -> Section:
    document = tomllib.loads(text)
    tool = _table(document.get("tool"))
    plugins = _table(_table(document.get("project")).get("entry-points")).get("pytest11")
    found = {name: tool[name] for name in _OF_PYTHON if name in tool}
    return {**found, **({"pytest11": plugins} if plugins else {})}


def _setup_cfg(text: str) -> Section:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
    parser.read_string(text)
    found: dict[str, Any] = {
        name: dict(parser.items(name)) for name in parser.sections() if _INI.fullmatch(name)
    }
    points = dict(parser.items("options.entry_points")) if "options.entry_points" in parser else {}
    return found | {name: value for name, value in points.items() if name == "pytest11"}


def _package(text: str) -> Section:
    document = json.loads(text)
    if not isinstance(document, dict):
        return text
    scripts = _table(document.get("scripts"))
    wanted = [name for name in scripts if name.startswith(("test", "pretest", "posttest"))]
    for name in wanted:
        for called in _RUN.findall(str(scripts[name])):
            wanted += [
                other
                for other in (called, f"pre{called}", f"post{called}")
                if other in scripts and other not in wanted
            ]
    found = {name: document[name] for name in _OF_NODE if name in document}
    called_scripts = {name: scripts[name] for name in sorted(wanted)}
    return {**found, **({"scripts": called_scripts} if called_scripts else {})}


def _composer(text: str) -> Section:
    return _table(_table(json.loads(text)).get("scripts"))


def _cargo(text: str) -> Section:
    document = tomllib.loads(text)
    package = _table(document.get("package"))
    found: dict[str, Any] = {name: document[name] for name in _CARGO if name in document}
    for kind in ("lib", "bin"):
        targets = document.get(kind)
        listed = targets if isinstance(targets, list) else [targets]
        flags = [
            {name: target[name] for name in ("test", "doctest", "harness") if name in target}
            for target in map(_table, listed)
        ]
        found |= {kind: flags} if any(flags) else {}
    if "autotests" in package:
        found["autotests"] = package["autotests"]
    return found


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _lines(pattern: str) -> Callable[[str], Section]:
    """Return a reader that keeps the lines in which a pattern is found."""
    compiled = re.compile(pattern, re.I)

    def read(text: str) -> Section:
        return [line.strip() for line in text.splitlines() if compiled.search(line)]

    return read


_GRADLE: Final = r"\btest\b|useJUnit|ignoreFailures|onlyIf|exclude|\benabled\b|failOnNo"
_READERS: Final[Mapping[str, Callable[[str], Section]]] = {
    "pyproject.toml": _pyproject,
    "setup.cfg": _setup_cfg,
    "package.json": _package,
    "composer.json": _composer,
    "Cargo.toml": _cargo,
    "pom.xml": _lines(r"skip|surefire|failsafe|testFailureIgnore|<exclude|<(?:test)?include"),
    "build.gradle": _lines(_GRADLE),
    "build.gradle.kts": _lines(_GRADLE),
    "CMakeLists.txt": _lines(r"add_test|enable_testing|set_tests_prop|WILL_FAIL|DISABLED|ctest"),
    "vite.config.js": _lines(r"\btest\b"),
    "vite.config.ts": _lines(r"\btest\b"),
    "vite.config.mjs": _lines(r"\btest\b"),
}
