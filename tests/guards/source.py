"""The package's modules, parsed once for all guards, and only where a word of theirs occurs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import keruta_agent

PACKAGE = Path(keruta_agent.__file__).parent


def modules_with(*words: str, parts: tuple[str, ...] = ("",)) -> Iterator[tuple[str, ast.Module]]:
    """Yield name and tree of each module, in these parts, whose text has one of the words."""
    for part in parts:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            if any(word in _text(path) for word in words):
                yield str(path.relative_to(PACKAGE)), _parsed(path)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(_text(path))
