"""The kinds of lines in a unified diff, so that they can be coloured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

MOST_LINES: Final = 3000
_FILE_MARKS: Final = ("diff ", "--- ", "+++ ", "index ", "new file", "deleted file", "Binary ")


def marked_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a diff with what each is: file, place, added, removed or same."""
    for line in text.split("\n")[:MOST_LINES]:
        yield _kind(line), line


def _kind(line: str) -> str:
    if line.startswith(_FILE_MARKS):
        return "file"
    if line.startswith("@@"):
        return "place"
    if line.startswith("+"):
        return "added"
    return "removed" if line.startswith("-") else "same"
