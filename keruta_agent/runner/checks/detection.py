"""Detection of how a project is tested, when the task does not say."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SMALL: Final = 1024 * 1024


def detect(root: Path) -> list[str]:
    """Return the commands for the first kind of project that its files name; empty for none."""
    for marker, commands in _MARKERS:
        if (root / marker).is_file():
            return commands(root)
    return []


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_SMALL)
    except OSError:
        return ""


def _node(root: Path) -> list[str]:
    try:
        package = json.loads(_read(root / "package.json"))
    except ValueError:
        return []
    if not isinstance(package, dict):
        return []
    scripts = package.get("scripts")
    wanted: dict[str, object] = {}
    if isinstance(scripts, dict) and scripts.get("test"):
        return ["npm test"]
    for group in ("dependencies", "devDependencies"):
        found = package.get(group)
        wanted |= found if isinstance(found, dict) else {}
    runners = {"jest": "npx jest", "vitest": "npx vitest run", "mocha": "npx mocha"}
    return next(([command] for name, command in runners.items() if name in wanted), [])


def _python(root: Path) -> list[str]:
    if (root / "pytest.ini").is_file() or _has_pytest_table(root) or (root / "tests").is_dir():
        return ["python3 -m pytest -q"]
    if (root / "test").is_dir():
        return ["python3 -m unittest discover -s test"]
    return []


def _has_pytest_table(root: Path) -> bool:
    try:
        document = tomllib.loads(_read(root / "pyproject.toml"))
    except tomllib.TOMLDecodeError:
        return False
    tool = document.get("tool")
    return isinstance(tool, dict) and "pytest" in tool


def _ruby(root: Path) -> list[str]:
    return ["bundle exec rspec"] if (root / "spec").is_dir() else ["bundle exec rake test"]


def _gradle(root: Path) -> list[str]:
    return ["./gradlew test" if (root / "gradlew").is_file() else "gradle test"]


def _always(command: str) -> Callable[[Path], list[str]]:
    return lambda root: [command]


#: In this order: the first file that is there decides.
_MARKERS: Final[tuple[tuple[str, Callable[[Path], list[str]]], ...]] = (
    ("package.json", _node),
    ("requirements.txt", _python),
    ("setup.py", _python),
    ("pyproject.toml", _python),
    ("Gemfile", _ruby),
    ("go.mod", _always("go test ./...")),
    ("Cargo.toml", _always("cargo test")),
    ("pom.xml", _always("mvn -q test")),
    ("build.gradle", _gradle),
    ("build.gradle.kts", _gradle),
)
