"""Imports of the old runner's package, and how they are written now.

Only the words that have to change are replaced: all else of a file stays as it is, byte for byte.
An import whose names are not all here is left to a person.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from keruta_agent import runner
from keruta_agent.runner.migration import names as old_names

OLD_PACKAGE: Final = "necrocode.agent_runner"
NEW_PACKAGE: Final = "keruta_agent.runner"
_OLD_PARENT, _, _OLD_NAME = OLD_PACKAGE.rpartition(".")
_NEW_PARENT, _, _NEW_NAME = NEW_PACKAGE.rpartition(".")
_LINES: Final = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_BLANK: Final = rb"(?:[ \t\f]|\\(?:\r\n|\r|\n))+"
_FROM: Final = re.compile(rb"from" + _BLANK + rb"([\w.]+)")
_EVERYTHING: Final = "Name what you import: nothing of it would be known otherwise"


class Edit(NamedTuple):
    """A passage of a file's UTF-8 text, by its bytes, and what takes its place."""

    start: int
    end: int
    text: str


class Statement(NamedTuple):
    """An old import and what replaces it, in words and, where nobody has to decide, as edits."""

    line: int
    old: str
    advice: str
    edits: tuple[Edit, ...] = ()


def is_old(module: str) -> bool:
    """Return whether a module is the old package, or in it."""
    return module == OLD_PACKAGE or module.startswith(f"{OLD_PACKAGE}.")


def find(tree: ast.Module, text: bytes) -> Iterator[Statement]:
    """Yield the old imports of a file; ``text`` is what it was parsed from, in UTF-8."""
    places = _Places(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield from _import_from(node, tree, places)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if is_old(alias.name):
                    yield _import(node, alias, tree, places)


def edited(text: bytes, statements: list[Statement]) -> bytes:
    """Return a text with the edits of its imports."""
    # Two imports of the same package have the same uses.
    edits = sorted({edit for statement in statements for edit in statement.edits}, reverse=True)
    for edit in edits:
        text = text[: edit.start] + edit.text.encode() + text[edit.end :]
    return text


class _Places:
    """Where nodes are in a text."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._starts = [0]
        for line in _LINES.findall(text):
            self._starts.append(self._starts[-1] + len(line))

    def start(self, node: ast.stmt | ast.expr | ast.alias) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.stmt | ast.expr | ast.alias) -> int:
        line, column = node.end_lineno, node.end_col_offset
        # Only nodes that somebody has made have no end.
        if line is None or column is None:
            raise ValueError(f"{ast.dump(node)} ends nowhere")
        return self._starts[line - 1] + column


def _import_from(node: ast.ImportFrom, tree: ast.Module, places: _Places) -> Iterator[Statement]:
    module = node.module or ""
    if module == _OLD_PARENT:
        yield from _from_parent(node, tree, places)
    if not is_old(module):
        return
    kept = [alias.name for alias in node.names if alias.name in runner.__all__]
    if kept:
        names = ", ".join(kept)
        edits = _module_edits(node, NEW_PACKAGE, places) if len(kept) == len(node.names) else ()
        advice = f"Write: from {NEW_PACKAGE} import {names}"
        yield Statement(node.lineno, f"from {module} import {names}", advice, edits)
    for alias in node.names:
        if alias.name == "*":
            yield Statement(node.lineno, f"from {module} import *", _EVERYTHING)
        elif alias.name not in runner.__all__:
            yield Statement(node.lineno, alias.name, old_names.advice(alias.name))


def _from_parent(node: ast.ImportFrom, tree: ast.Module, places: _Places) -> Iterator[Statement]:
    for alias in node.names:
        if alias.name != _OLD_NAME:
            continue
        bound = alias.asname or alias.name
        new = f"{_NEW_NAME} as {bound}"
        found = _Uses.of(tree, bound, is_alias=True)
        edits: tuple[Edit, ...] = ()
        if len(node.names) == 1 and found.are_known:
            module = _module_edits(node, _NEW_PARENT, places)
            edits = (*module, Edit(places.start(alias), places.end(alias), new)) if module else ()
        advice = f"Write: from {_NEW_PARENT} import {new}{found.complaint}"
        yield Statement(node.lineno, f"from {_OLD_PARENT} import {_OLD_NAME}", advice, edits)


def _module_edits(node: ast.ImportFrom, new: str, places: _Places) -> tuple[Edit, ...]:
    """Return the edit of the module's name, none where it is written in a way of its own."""
    found = _FROM.match(places.text, places.start(node))
    if found is None or found[1].decode() != node.module:
        return ()
    return (Edit(*found.span(1), new),)


def _import(node: ast.Import, alias: ast.alias, tree: ast.Module, places: _Places) -> Statement:
    """Return what becomes of an import of the module itself, by what is used of it."""
    bound = "" if alias.asname is None else f" as {alias.asname}"
    name = alias.asname or _OLD_PARENT
    found = _Uses.of(tree, name, is_alias=alias.asname is not None)
    advice = f"Write: import {NEW_PACKAGE}{bound}{found.complaint}"
    edits: tuple[Edit, ...] = ()
    if found.are_known:
        edits = (Edit(places.start(alias), places.end(alias), f"{NEW_PACKAGE}{bound}"),)
        if alias.asname is None:
            uses = [(places.start(module), places.end(module)) for module in found.modules]
            edits += tuple(Edit(start, end, NEW_PACKAGE) for start, end in uses)
    return Statement(node.lineno, f"import {alias.name}", advice, edits)


class _Uses(NamedTuple):
    """The uses of a module in a file."""

    #: The expressions that stand for the module, where a name that is still there follows.
    modules: list[ast.expr]
    #: All others.
    others: list[str]

    @classmethod
    def of(cls, tree: ast.Module, name: str, *, is_alias: bool) -> _Uses:
        inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        modules, others = [], []
        for node in ast.walk(tree):
            if not isinstance(node, ast.Name | ast.Attribute) or id(node) in inner:
                continue
            if _dotted(node).partition(".")[0] != name:
                continue
            module = _module_of(node, name if is_alias else "")
            if module is None:
                others.append(_dotted(node))
            else:
                modules.append(module)
        return cls(modules, others)

    @property
    def are_known(self) -> bool:
        return not self.others

    @property
    def complaint(self) -> str:
        if self.are_known:
            return ""
        return f"; look at its uses yourself: {', '.join(sorted(set(self.others))[:5])}"


def _module_of(use: ast.expr, alias: str) -> ast.expr | None:
    """Return the part of an expression that stands for the module, None where that is unclear."""
    while isinstance(use, ast.Attribute):
        module = _dotted(use.value)
        if use.attr in runner.__all__ and (module == alias if alias else is_old(module)):
            return use.value
        use = use.value
    return None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (inner := _dotted(node.value)):
        return f"{inner}.{node.attr}"
    return ""
