"""Which files a task is about, as far as words tell."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Final

from keruta_agent.runner.changes import files

#: Characters of a task and of a failure that are looked at.
_MOST_TEXT: Final = 200_000
_LEAST_WORD: Final = 3
#: The parts of an identifier: ``parseHTMLPage`` and ``parse_html_page`` are alike.
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")
#: Words that tasks and tracebacks are full of.
_COMMON: Final = frozenset(
    {
        *("and", "are", "any", "before", "but", "change", "def", "does", "error", "exit"),
        *("fail", "failed", "file", "fix", "for", "from", "has", "have", "how", "import"),
        *("into", "its", "line", "most", "not", "one", "recent", "call", "return", "run"),
        *("self", "should", "test", "tests", "that", "the", "then", "this", "traceback", "was"),
        *("when", "where", "which", "with", "none", "true", "false", "assert", "raise"),
        *("expected", "passed"),
    }
)


def words(text: str) -> frozenset[str]:
    """Return the words of a text, and the parts of its identifiers, in small letters."""
    return frozenset(
        word
        for part in _PART.findall(text[:_MOST_TEXT])
        if len(word := part.lower()) >= _LEAST_WORD and word not in _COMMON
    )


def score(name: str, wanted: Collection[str]) -> int:
    """Return how many of the wanted words a path or an identifier holds."""
    return sum(word in wanted for word in words(name))


def ranked(names: Iterable[str], first: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return files with those of the task before the others.

    ``first`` are files that are known to matter: they come in their order, then what shares the
    most words with the task, then what lies beside them.
    """
    order = {name: place for place, name in enumerate(first)}
    directories = {str(PurePosixPath(name).parent) for name in first}

    def key(name: str) -> tuple[int, int, bool, int, str]:
        path = PurePosixPath(name)
        is_beside = str(path.parent) in directories
        place = order.get(name, len(order))
        return place, -score(name, wanted), not is_beside, len(path.parts), name

    known = (name for name in names if not files.is_generated(name))
    return sorted(known, key=key)
