"""The files of a repository that its test commands run: build files, and scripts for tests.

A command may also run the very program that a task is about (``./tool.sh --selftest``). So a
script counts only when its name or its text says that it is about tests.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

#: Scripts that are followed from one to the next, and characters of each.
_MOST: Final = 200
_LONGEST: Final = 200_000

#: Build tools, with the files that they obey, at the top or below.
_TOOLS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("make", "gmake"), ("Makefile", "makefile", "GNUmakefile")),
    "just": ("justfile", "Justfile", ".justfile"),
    "task": ("Taskfile.yml", "Taskfile.yaml"),
    "rake": ("Rakefile", "rakefile"),
    **dict.fromkeys(("invoke", "inv"), ("tasks.py",)),
    "dagger": ("dagger.json",),
}
_INCLUDES: Final = re.compile(r"^\s*-?s?include\s+(\S.*)$", re.M)
#: Words of a shell, between which programs and files are named.
_WORD: Final = re.compile(r"[^\s;&|()<>`$\"'{}=,\[\]]+")
_ABOUT_TESTS: Final = re.compile(r"(?:^|[/_.-])(?:tests?|ci|spec|e2e|qa)(?:[/_.-]|$)", re.I)
_RUNS_CHECKS: Final = re.compile(r"(?:^|[/_.-])(?:check|checks|verify|lint|all)(?:[/_.-]|$)", re.I)
_FRAMEWORK: Final = re.compile(
    r"\b(?:pytest|unittest|nosetests|tox|nox|jest|vitest|mocha|ava|bats|ctest|phpunit|rspec|prove)\b"
    r"|\b(?:go|cargo|npm|pnpm|yarn|mvn|gradle|gradlew|dotnet|make|mix|swift)\s+(?:run\s+)?test\b"
    r"|\bnode\s+--test\b"
)
#: The same, in a program that is no shell script and may speak of tests without running any.
_RUNNER: Final = re.compile(
    r"\b(?:unittest|pytest)\.main\(|\bTestLoader\b|[\"'](?:pytest|unittest|jest|mocha|--test)[\"']"
)
_SHELL: Final = frozenset({"", ".sh", ".bash", ".ksh", ".zsh"})
_PROGRAMS: Final = frozenset({".py", ".js", ".cjs", ".mjs", ".ts", ".rb", ".pl", ".mk"})

Read = Callable[[str], bytes | None]


def run_by(commands: Iterable[str], names: frozenset[str], read: Read) -> frozenset[str]:
    """Return the files that commands run in order to test, and those that these run in turn.

    Names of build files that are not there are among them: a new one may go before the others.
    """
    found: dict[str, None] = {}
    texts = [*commands]
    for text in texts:
        for path in _named(text, names, read):
            if path in found or len(found) >= _MOST:
                continue
            found[path] = None
            content = read(path) or b""
            texts.append(content[:_LONGEST].decode("utf-8", errors="replace"))
    return frozenset(found)


def _named(text: str, names: frozenset[str], read: Read) -> Iterator[str]:
    words = _words(text)
    folders = ["", *_folders(words)]
    for word in words:
        for folder in folders:
            for name in _TOOLS.get(posixpath.basename(word), ()):
                yield posixpath.join(folder, name)
            path = posixpath.normpath(posixpath.join(folder, word))
            if path in names and _is_for_tests(path, read):
                yield path
    for included in _INCLUDES.findall(text):
        yield from (path for path in included.split() if path in names)


def _words(text: str) -> list[str]:
    try:
        split = shlex.split(text, comments=True) if "\n" not in text else []
    except ValueError:
        split = []
    return list(dict.fromkeys([*split, *_WORD.findall(text)]))


def _folders(words: list[str]) -> Iterator[str]:
    """Yield the directories that a command goes to."""
    for before, word in itertools.pairwise(words):
        if before in ("cd", "-C", "--prefix", "--directory", "pushd"):
            yield posixpath.normpath(word)


def _is_for_tests(path: str, read: Read) -> bool:
    place = PurePosixPath(path)
    is_shell = place.suffix in _SHELL
    if not is_shell and place.suffix not in _PROGRAMS:
        return False
    if _ABOUT_TESTS.search(path) or (is_shell and _RUNS_CHECKS.search(place.name)):
        return True
    content = (read(path) or b"")[:_LONGEST].decode("utf-8", errors="replace")
    return bool((_FRAMEWORK if is_shell else _RUNNER).search(content))
