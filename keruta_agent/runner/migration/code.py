"""Uses of the old runner in code, and what replaces them; imports are rewritten on demand."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import atomic_file, file_trees
from keruta_agent.core.settings import retired
from keruta_agent.runner.migration import imports
from keruta_agent.runner.migration.finding import Finding

_MORE_PACKAGES: Final = {
    "a2a_protocol": "Remove it: TaskRegistryClient and RepoPoolClient take its place",
    "kiro_client": "Remove it: LLMClient takes its place",
    "message_bus": "Use TaskRegistryClient.add_event and update_task_status",
}
#: Methods that only the old clients had.
_CALLS: Final = {
    "receive_task": "Make a TaskContext and give it to RunnerOrchestrator.run",
    "send_result": "Remove it: RunnerOrchestrator.run tells the Task Registry",
    "notify_artifact_created": "Use ArtifactStoreClient.upload and TaskRegistryClient.add_artifact",
}
_GENERATES: Final = frozenset({"generate_code", "implement"})
_DOTTED: Final = re.compile(r"[A-Za-z_][\w.]*")
_LARGEST: Final = 4 * 1024 * 1024
_SKIPPED: Final = frozenset({"node_modules", "__pycache__", "venv"})
#: Appended to the name of a file that is rewritten, for what it was before.
BACKUP: Final = ".before-keruta"


def find(directory: Path, *, rewrites: bool = False) -> Iterator[Finding]:
    """Yield the old imports, names and calls in the Python files below a directory.

    With ``rewrites`` the imports that nobody has to decide about are written anew, and the file as
    it was is kept beside; what cannot be done is a finding.
    """
    for folder, inner, names in file_trees.walk(directory):
        inner[:] = sorted(
            name for name in inner if name not in _SKIPPED and not name.startswith(".")
        )
        for name in sorted(names):
            if name.endswith(".py"):
                yield from _in_file(Path(folder) / name, rewrites=rewrites)


def _in_file(path: Path, *, rewrites: bool) -> Iterator[Finding]:
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            yield _not_read(path, f"it has {size} bytes")
            return
        content = path.read_bytes()
        text, encoding = _decoded(content)
        tree = ast.parse(content, filename=str(path))
    except (OSError, SyntaxError, ValueError, RecursionError) as exc:
        yield _not_read(path, type(exc).__name__)
        return
    utf8 = text.encode()
    statements = list(imports.find(tree, utf8))
    problem = None
    if rewrites and any(statement.edits for statement in statements):
        new = imports.edited(utf8, statements).decode()
        problem = _rewrite(path, content, new, encoding)
        if problem is not None:
            yield Finding(str(path), path.name, f"It is not rewritten: {problem}", True)
    is_written = rewrites and problem is None
    found = [(one.line, one.old, one.advice, not (is_written and one.edits)) for one in statements]
    found += [(*item, True) for node in ast.walk(tree) for item in _in_node(node)]
    for line, old, advice, needs_person in sorted(found):
        said = advice if needs_person else advice.replace("Write:", "Written:", 1)
        yield Finding(f"{path}:{line}", old, said, needs_person)


def _not_read(path: Path, why: str) -> Finding:
    advice = f"It cannot be read as Python: {why}; look at it yourself"
    return Finding(str(path), path.name, advice, needs_person=True)


def _decoded(content: bytes) -> tuple[str, str]:
    """Return a source as text with its line ends, and its encoding.

    Raises:
        SyntaxError: its first lines name no encoding that is known.
        ValueError: it is not in its encoding.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    # What stands before the text is none of it, for Python's places as well.
    return content.decode(encoding), encoding


def _rewrite(path: Path, content: bytes, text: str, encoding: str) -> str | None:
    """Write a file anew and keep it as it was; return why it cannot be done, if it cannot."""
    if path.is_symlink():
        return "it is a link; rewrite what it leads to"
    try:
        new = text.encode(encoding)
        if _decoded(content)[0].encode(encoding) != content:
            return f"its bytes are not the only way to write it in {encoding}"
        ast.parse(new, filename=str(path))
        mode = path.stat().st_mode & 0o7777
        # Before the file itself: a stop in between loses nothing.
        atomic_file.write(_unused(path), content, mode=mode)
        atomic_file.write(path, new, mode=mode)
    except (SyntaxError, ValueError) as exc:
        return f"what came of it is no Python: {type(exc).__name__}"
    except OSError as exc:
        return exc.strerror or type(exc).__name__
    return None


def _unused(path: Path) -> Path:
    """Return the name of a backup; one of an earlier time is left alone."""
    backup, number = path.with_name(f"{path.name}{BACKUP}"), 1
    while backup.exists() or backup.is_symlink():
        number += 1
        backup = path.with_name(f"{path.name}{BACKUP}-{number}")
    return backup


def _in_node(node: ast.AST) -> Iterator[tuple[int, str, str]]:
    if isinstance(node, ast.ImportFrom):
        package = (node.module or "").partition(".")[0]
        if package in _MORE_PACKAGES and not node.level:
            yield node.lineno, f"from {node.module} import", _MORE_PACKAGES[package]
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.partition(".")[0] in _MORE_PACKAGES:
                advice = _MORE_PACKAGES[alias.name.partition(".")[0]]
                yield node.lineno, f"import {alias.name}", advice
    elif isinstance(node, ast.Call):
        yield from _call(node)
    elif isinstance(node, ast.Constant) and _is_old_place(node.value):
        advice = f"It names a place in the old package: the new one is {imports.NEW_PACKAGE}"
        yield node.lineno, repr(node.value), advice


def _is_old_place(value: object) -> bool:
    """Return whether a constant is a text that names the old package, as mocks are given."""
    return isinstance(value, str) and imports.is_old(value) and bool(_DOTTED.fullmatch(value))


def _call(node: ast.Call) -> Iterator[tuple[int, str, str]]:
    name = _name_of(node.func)
    last = name.rpartition(".")[2]
    if last == "RunnerConfig":
        for keyword in node.keywords:
            if keyword.arg in retired.ARGUMENTS:
                advice = retired.ARGUMENTS[keyword.arg]
                yield node.lineno, f"RunnerConfig({keyword.arg}=...)", advice
    elif last in _CALLS and "." in name:
        yield node.lineno, f"{name}()", _CALLS[last]
    elif last in _GENERATES and "kiro" in name.lower():
        yield node.lineno, f"{name}()", "Use LLMClient.generate_code(prompt, workspace_path)"


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name_of(node.value)}.{node.attr}"
    return ""
