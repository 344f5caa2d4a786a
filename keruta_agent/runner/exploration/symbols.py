"""The definitions in a file: with the parser for Python, with patterns for other languages."""

from __future__ import annotations

import ast
import dataclasses
import re
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

#: Characters above which a file is not parsed: the parser is for programs that people write.
_LONGEST: Final = 400_000
#: Characters of a line that is looked at, and of a definition that is shown.
_LONGEST_LINE: Final = 400
_LONGEST_SHOWN: Final = 120
#: Definitions of one file, and classes in classes.
MOST: Final = 400
_DEEPEST: Final = 2

_LANGUAGES: Final = frozenset(
    {
        *(".c", ".cc", ".cpp", ".cs", ".cxx", ".dart", ".ex", ".exs", ".go", ".h", ".hpp"),
        *(".java", ".js", ".jsx", ".kt", ".lua", ".m", ".mjs", ".cjs", ".php", ".pl", ".py"),
        *(".pyi", ".rb", ".rs", ".scala", ".sh", ".bash", ".swift", ".ts", ".tsx"),
        *(".mts", ".vue"),
    }
)
#: What may stand before the word that defines.
_BEFORE: Final = (
    r"(?:(?:export|default|declare|public|private|protected|internal|static|abstract|final|sealed|"
    r"open|data|async|unsafe|inline|virtual|override|pub(?:\([a-z: ]{1,30}\))?)[ \t]+){0,5}"
)
_DEFINED: Final = re.compile(
    rf"[ \t]{{0,12}}{_BEFORE}(?:"
    r"(?:class|interface|struct|enum|trait|impl|namespace|module|defmodule|protocol|object|record|"
    r"type|func|function\*?|fn|fun|def|defp|sub|macro_rules!)[ \t]+[\w(<$.:]"
    r"|(?:const|let|var)[ \t]+[\w$]+[ \t]*=[ \t]*(?:async\b|function\b|\([^()]{0,120}\)[ \t]*=>)"
    r"|[\w-]+[ \t]*\(\)[ \t]*\{"  # a function of a shell
    r")"
)


@dataclasses.dataclass(frozen=True)
class Symbol:
    """A definition, and the line that it begins in."""

    line: int
    text: str
    depth: int = 0


def has_symbols(path: str) -> bool:
    """Return whether a file is a program in a language that is known here."""
    return PurePosixPath(path).suffix.lower() in _LANGUAGES


def of(path: str, text: str) -> list[Symbol]:
    """Return the definitions of a file, in their order."""
    if PurePosixPath(path).suffix in (".py", ".pyi") and len(text) <= _LONGEST:
        parsed = _python(text)
        if parsed is not None:
            return parsed
    return list(_by_pattern(text))[:MOST]


def _python(text: str) -> list[Symbol] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what the project does
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return list(_definitions(tree.body, 0))[:MOST]


def _definitions(body: list[ast.stmt], depth: int) -> Iterator[Symbol]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            bases = ", ".join(filter(None, map(_name, node.bases)))
            yield Symbol(node.lineno, f"class {node.name}{f'({bases})' if bases else ''}", depth)
            if depth < _DEEPEST:
                yield from _definitions(node.body, depth + 1)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = f"def {node.name}({', '.join(_parameters(node.args))})"
            yield Symbol(node.lineno, text[:_LONGEST_SHOWN], depth)
        elif depth == 0 and isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for name in targets if isinstance(name, ast.Name)]
            if names and names[0].isupper():
                yield Symbol(node.lineno, names[0])


def _name(node: ast.expr) -> str:
    # Values of arguments are not shown: they may be anything, secrets as well.
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _parameters(given: ast.arguments) -> Iterator[str]:
    yield from (one.arg for one in (*given.posonlyargs, *given.args))
    if given.vararg is not None or given.kwonlyargs:
        yield f"*{given.vararg.arg if given.vararg else ''}"
    yield from (one.arg for one in given.kwonlyargs)
    if given.kwarg is not None:
        yield f"**{given.kwarg.arg}"


def _by_pattern(text: str) -> Iterator[Symbol]:
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > _LONGEST_LINE or _DEFINED.match(line) is None:
            continue
        indent = len(line) - len(line.lstrip())
        yield Symbol(number, line.strip().rstrip("{").rstrip()[:_LONGEST_SHOWN], int(indent > 0))
