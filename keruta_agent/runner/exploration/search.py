"""The search for a regular expression in the files that a model may be shown.

What decides is the text without secrets: else a pattern could ask for a secret letter by letter.
So the files as they are only say where to look, and what is found there is matched once more.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keruta_agent.core import file_trees
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.changes import files
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.checks.commands import CommandExecutor
from keruta_agent.runner.exploration import matcher

#: Seconds that an expression may take, and memory.
LIMIT_S: Final = 10.0
_MEMORY_MB: Final = 1024
#: Files in which something is found that are looked into again, and characters of them.
_MOST_FILES: Final = 200
_MOST_READ: Final = 4_000_000
#: Lines that are shown, of one file and in all, and characters of a line and of an expression.
_MOST_PER_FILE: Final = 20
MOST_LINES: Final = 100
_LONGEST_LINE: Final = 240
LONGEST_PATTERN: Final = 500


class SearchError(ValueError):
    """A search cannot be done; the text tells the model why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Searcher:
    """The searcher of one workspace."""

    tree: Tree
    permissions: PermissionValidator
    redactor: Redactor
    limit_s: float = LIMIT_S

    def search(self, pattern: str, names: Sequence[str]) -> str:
        """Return the lines that match, each with its file and number.

        Raises:
            SearchError: the expression is none, or takes too long.
        """
        if not pattern or not pattern.isprintable() or len(pattern) > LONGEST_PATTERN:
            raise SearchError(
                f"a pattern has 1 to {LONGEST_PATTERN} characters, all of them printable"
            )
        allowed = [name for name in names if not files.is_secret(name)]
        candidates = [allowed[number] for number, _ in self._matches(pattern, allowed, 1)]
        texts = self._texts(candidates[:_MOST_FILES])
        with file_trees.temporary_directory(prefix="keruta-search-") as directory:
            copies = []
            for number, text in enumerate(texts.values()):
                copies.append(str(number))
                (directory / copies[-1]).write_text(text, encoding="utf-8", newline="")
            found = self._matches(pattern, copies, _MOST_PER_FILE, directory)
        paths = list(texts)
        lines = [_line(paths[number], place, texts[paths[number]]) for number, place in found]
        if not lines:
            return f"Nothing matches in {len(allowed)} files."
        is_more = len(lines) > MOST_LINES or len(texts) < len(candidates)
        note = "\n(there is more: narrow the pattern or the path)" if is_more else ""
        return "\n".join(lines[:MOST_LINES]) + note

    def _texts(self, candidates: Sequence[str]) -> dict[str, str]:
        found, read = {}, 0
        for path in candidates:
            text = files.read(path, self.tree, self.permissions) if read < _MOST_READ else None
            if text is not None:
                read += len(text)
                safe = self.redactor.redact(text)
                found[path] = safe.encode("utf-8", "replace").decode()
        return found

    def _matches(
        self, pattern: str, names: Sequence[str], most: int, root: Path | None = None
    ) -> list[tuple[int, int]]:
        """Return which lines of which files match."""
        if not names:
            return []
        with file_trees.temporary_directory(prefix="keruta-search-") as directory:
            listed = directory / "names"
            listed.write_bytes(b"".join(os.fsencode(name) + b"\0" for name in names))
            program = [sys.executable, "-I", "-S", matcher.__file__, str(listed), str(most)]
            result = CommandExecutor(max_memory_mb=_MEMORY_MB).execute(
                shlex.join([*program, pattern]),
                root or self.tree.root,
                timeout_seconds=self.limit_s,
                env={"LC_ALL": "C.UTF-8"},
            )
        if result.timed_out:
            raise SearchError(f"the pattern takes longer than {self.limit_s:g} s: simplify it")
        if not result.success:
            said = result.stderr.strip().splitlines()[-1:] or ["it takes too much memory"]
            raise SearchError(f"the pattern cannot be used: {said[0][:200]}")
        pairs = (line.split() for line in result.stdout.splitlines())
        numbers = [
            (int(pair[0]), int(pair[1]))
            for pair in pairs
            if len(pair) == 2 and pair[0].isdecimal() and pair[1].isdecimal()
        ]
        return [pair for pair in numbers if pair[0] < len(names)]


def _line(path: str, place: int, text: str) -> str:
    line = text.split("\n")[place - 1].strip()
    return f"{path}:{place}: {line[:_LONGEST_LINE]}"
