"""Passages of a file that a model wants replaced: found in the file first, exactly once.

Two notations are read, whichever a model prefers: search/replace blocks, and unified diffs. The
line numbers of a diff only choose between passages that are alike: models count badly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Final

_SEARCH: Final = re.compile(r"<{5,9} ?SEARCH[^\n]*")
_MIDDLE: Final = re.compile(r"={5,9}[ \t]*")
_REPLACE: Final = re.compile(r">{5,9} ?REPLACE[^\n]*")
_HUNK: Final = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@.*")
_ANY_HUNK: Final = re.compile(r"@@.*")
#: Passages that one edit may replace; for more, the model writes the whole file.
MOST_PASSAGES: Final = 1000
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


class PatchError(ValueError):
    """Passages cannot be replaced; the text tells the model why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Passage:
    """Lines that are to become others; ``hint`` is where they are said to be, counted from 0."""

    old: list[str]
    new: list[str]
    hint: int | None = None


def passages(content: str) -> list[Passage]:
    """Return what the content of an edit says.

    Raises:
        PatchError: it is in neither notation, or has no end.
    """
    lines = content.replace("\r\n", "\n").split("\n")
    if any(_SEARCH.fullmatch(line) for line in lines):
        found = list(_blocks(lines))
    elif any(_ANY_HUNK.fullmatch(line) for line in lines):
        found = list(_hunks(lines))
    else:
        raise PatchError("it holds neither <<<<<<< SEARCH blocks nor @@ hunks")
    if len(found) > MOST_PASSAGES:
        raise PatchError(f"it has {len(found)} passages; {MOST_PASSAGES} are allowed")
    if any(passage.old == passage.new for passage in found):
        raise PatchError("a passage is replaced by itself")
    return found


def _blocks(lines: list[str]) -> Iterator[Passage]:
    rest = iter(lines)
    for line in rest:
        if _SEARCH.fullmatch(line):
            old = _until(rest, _MIDDLE, "=======")
            yield Passage(old=old, new=_until(rest, _REPLACE, ">>>>>>> REPLACE"))


def _until(lines: Iterator[str], end: re.Pattern[str], name: str) -> list[str]:
    taken: list[str] = []
    for line in lines:
        if end.fullmatch(line):
            return taken
        if _SEARCH.fullmatch(line):
            break
        taken.append(line)
    raise PatchError(f"a SEARCH block has no {name}")


def _hunks(lines: list[str]) -> Iterator[Passage]:
    old: list[str] = []
    new: list[str] = []
    number: int | None = None
    is_inside = False
    # The newline that ends the content is no empty line of context.
    for line in [*(lines[:-1] if lines[-1] == "" else lines), "@@ end"]:
        if _ANY_HUNK.fullmatch(line):
            if is_inside:
                yield Passage(old=old, new=new, hint=_index(number, new))
            numbered = _HUNK.fullmatch(line)
            old, new, number = [], [], None if numbered is None else int(numbered[1])
            is_inside = True
        elif not is_inside or line.startswith(("\\", "diff --git ", "index ")):
            continue
        elif line.startswith("-"):
            old.append(line[1:])
        elif line.startswith("+"):
            new.append(line[1:])
        elif line.startswith(" ") or line == "":
            old.append(line[1:])
            new.append(line[1:])
        else:
            raise PatchError(
                f"a line of a hunk begins with none of ' ', '+' and '-': {line[:60]!r}"
            )


def _index(number: int | None, new: list[str]) -> int | None:
    """Return the place that a hunk names.

    Hunks are applied in order, so that the number in the new file holds, not that in the old one.
    For a hunk that leaves nothing it is that of the line before.
    """
    if number is None:
        return None
    return number - 1 if new else number


def replaced(text: str, wanted: list[Passage]) -> str:
    """Return a text with its passages replaced, one after the other.

    Line ends are kept, each file's own for what is new.

    Raises:
        PatchError: a passage is not there, or there more than once.
    """
    end = line_end(text)
    lines: list[str] = _LINE.findall(text)
    bare = [line.rstrip("\r\n") for line in lines]
    for number, passage in enumerate(wanted, 1):
        _replace(lines, bare, passage, end, f"passage {number} of {len(wanted)}")
    return "".join(lines)


def _replace(lines: list[str], bare: list[str], passage: Passage, end: str, name: str) -> None:
    """Replace a passage in lines, and in the same lines without their ends."""
    start = _place(bare, passage, name)
    before, after = _alike(passage.old, passage.new)
    first, last = start + before, start + len(passage.old) - after
    fresh = passage.new[before : len(passage.new) - after]
    had_end = not lines or lines[-1] != bare[-1]
    is_last = last == len(lines)
    if first and lines[first - 1] == bare[first - 1] and (fresh or not is_last):
        lines[first - 1] += end
    lines[first:last] = [line + end for line in fresh]
    bare[first:last] = fresh
    if lines and is_last and not had_end:
        lines[-1] = bare[-1]


def _place(lines: list[str], passage: Passage, name: str) -> int:
    old = passage.old
    if not old:
        if not lines or passage.hint is not None:
            return max(0, min(passage.hint or 0, len(lines)))
        raise PatchError(f"{name} says nothing to search for, and the file is not empty")
    places = [index for index in _indexes(lines, old[0]) if lines[index : index + len(old)] == old]
    if passage.hint is not None and passage.hint in places:
        return passage.hint
    if not places:
        raise PatchError(f"{name} is not in the file: it begins with {old[0][:80]!r}")
    if len(places) > 1:
        raise PatchError(
            f"{name} is {len(places)} times in the file: add lines around it until it is there once"
        )
    return places[0]


def _indexes(lines: list[str], wanted: str) -> Iterator[int]:
    index = -1
    with contextlib.suppress(ValueError):
        while True:
            index = lines.index(wanted, index + 1)
            yield index


def _alike(old: list[str], new: list[str]) -> tuple[int, int]:
    """Return how many lines at the beginning and at the end stay as they are."""
    shortest = min(len(old), len(new))
    before = next((index for index in range(shortest) if old[index] != new[index]), shortest)
    after = 0
    while after < shortest - before and old[-1 - after] == new[-1 - after]:
        after += 1
    return before, after


def line_end(text: str) -> str:
    """Return how most of a text's lines end."""
    windows = text.count("\r\n")
    return "\r\n" if windows > text.count("\n") - windows else "\n"
