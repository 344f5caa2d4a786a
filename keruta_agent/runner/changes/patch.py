"""Passages of a file that a model wants replaced: found in the file first, exactly once.

Two notations are read, whichever a model prefers: search/replace blocks, and unified diffs. The
line numbers of a diff only choose between passages that are alike: models count badly. A block
with several lines that may divide it is read in each way; one of them has to fit, and no other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from typing import Final

_SEARCH: Final = re.compile(r"(<{5,40}) ?SEARCH[^\n]*")
_MIDDLE: Final = re.compile(r"={5,40}[ \t]*")
_REPLACE: Final = re.compile(r"(>{5,40}) ?REPLACE[^\n]*")
_HUNK: Final = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,\d+)? @@.*")
_ANY_HUNK: Final = re.compile(r"@@.*")
#: Passages that one edit may replace; for more, the model writes the whole file.
MOST_PASSAGES: Final = 1000
#: Lines that may divide a block.
_MOST_DIVIDERS: Final = 20
_MARKS: Final = (
    "give it marks of nine characters, <<<<<<<<< SEARCH, ========= and >>>>>>>>> REPLACE, or use a "
    "unified diff"
)
_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


class PatchError(ValueError):
    """Passages cannot be replaced; the text tells the model why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Passage:
    """Lines that are to become others; ``hint`` is where they are said to be, counted from 0."""

    old: list[str]
    new: list[str]
    hint: int | None = None
    #: The line between both, in a block.
    divider: str | None = None


#: The ways in which one passage can be read; mostly there is one.
Readings = tuple[Passage, ...]


def passages(content: str) -> list[Readings]:
    """Return what the content of an edit says.

    Raises:
        PatchError: it is in neither notation, or has no end.
    """
    lines = content.replace("\r\n", "\n").split("\n")
    if any(_SEARCH.fullmatch(line) for line in lines):
        found = list(_blocks(lines))
    elif any(_ANY_HUNK.fullmatch(line) for line in lines):
        found = [(hunk,) for hunk in _hunks(lines)]
    else:
        raise PatchError("it holds neither <<<<<<< SEARCH blocks nor @@ hunks")
    if len(found) > MOST_PASSAGES:
        raise PatchError(f"it has {len(found)} passages; {MOST_PASSAGES} are allowed")
    if any(reading.old == reading.new for readings in found for reading in readings[:1]):
        raise PatchError("a passage is replaced by itself")
    return found


def _blocks(lines: list[str]) -> Iterator[Readings]:
    rest = iter(lines)
    has_ended = False
    for line in rest:
        if (opening := _SEARCH.fullmatch(line)) is not None:
            has_ended = True
            yield _readings(*_inside(rest), len(opening[1]))
        elif has_ended and _REPLACE.fullmatch(line):
            raise PatchError(
                "a SEARCH block has more than one line >>>>>>> REPLACE: use a unified diff, or "
                "modify"
            )


def _inside(lines: Iterator[str]) -> tuple[list[str], int]:
    """Return the lines of a block, and the length of the mark that ends it."""
    taken: list[str] = []
    for line in lines:
        if (closing := _REPLACE.fullmatch(line)) is not None:
            return taken, len(closing[1])
        if _SEARCH.fullmatch(line):
            break
        taken.append(line)
    has_divider = any(_MIDDLE.fullmatch(line) for line in taken)
    raise PatchError(f"a SEARCH block has no {'>>>>>>> REPLACE' if has_divider else '======='}")


def _readings(inside: list[str], end_length: int, length: int) -> Readings:
    """Return the ways to read a block: by the lines that are as long as its marks, if any are."""
    possible = [number for number, line in enumerate(inside) if _MIDDLE.fullmatch(line)]
    if not possible:
        raise PatchError("a SEARCH block has no =======")
    exact = [number for number in possible if len(inside[number].rstrip()) == length]
    chosen = exact if exact and end_length == length else possible
    if len(chosen) > _MOST_DIVIDERS:
        raise PatchError(f"a SEARCH block has {len(chosen)} lines of '=': use a unified diff")
    return tuple(
        Passage(
            old=inside[:number],
            new=inside[number + 1 :],
            divider=inside[number].rstrip(),
        )
        for number in chosen
    )


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


def replaced(text: str, wanted: list[Readings]) -> str:
    """Return a text with its passages replaced, one after the other.

    Line ends are kept, each file's own for what is new.

    Raises:
        PatchError: a passage is not there, or there more than once.
    """
    end = line_end(text)
    lines: list[str] = _LINE.findall(text)
    bare = [line.rstrip("\r\n") for line in lines]
    for number, readings in enumerate(wanted, 1):
        passage, start = _only(bare, readings, f"passage {number} of {len(wanted)}")
        _replace(lines, bare, passage, start, end)
    return "".join(lines)


def _only(lines: list[str], readings: Readings, name: str) -> tuple[Passage, int]:
    """Return the one way to read a passage that fits, and its place."""
    if len(readings) == 1:
        place = _place(lines, readings[0], name)
        if _goes_on(lines, readings[0], place):
            # The line of the file may be meant, and the divider forgotten.
            raise PatchError(
                f"{name} ends before line {place + len(readings[0].old) + 1} of the file, which is "
                f"the same as the line that divides the passage: {_MARKS}"
            )
        return readings[0], place
    fitting = []
    for reading in readings:
        with contextlib.suppress(PatchError):
            place = _place(lines, reading, name)
            if not _goes_on(lines, reading, place):
                fitting.append((reading, place))
    if len(fitting) == 1:
        return fitting[0]
    raise PatchError(
        f"{name} has several lines of '=', and {len(fitting)} ways to divide it by them fit to the "
        f"file: {_MARKS}"
    )


def _goes_on(lines: list[str], reading: Passage, place: int) -> bool:
    """Return whether the file goes on with the divider: then that may be the file's own line."""
    after = place + len(reading.old)
    return (
        reading.divider is not None
        and after < len(lines)
        and lines[after].rstrip() == reading.divider
    )


def _replace(lines: list[str], bare: list[str], passage: Passage, start: int, end: str) -> None:
    """Replace a passage in lines, and in the same lines without their ends."""
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
        hint = _all_but_blanks(lines, old)
        raise PatchError(f"{name} is not in the file: it begins with {old[0][:80]!r}{hint}")
    if len(places) > 1:
        raise PatchError(
            f"{name} is {len(places)} times in the file: add lines around it until it is there once"
        )
    return places[0]


def _all_but_blanks(lines: list[str], old: list[str]) -> str:
    """Return where a passage would be if blanks did not count, and in what it differs there."""
    known = [(number, "".join(line.split())) for number, line in enumerate(lines) if line.strip()]
    wanted = [line for line in old if line.strip()]
    sought = ["".join(line.split()) for line in wanted]
    texts = [text for _, text in known]
    places = (
        place
        for place in (_indexes(texts, sought[0]) if sought else ())
        if texts[place : place + len(sought)] == sought
    )
    place = next(places, None)
    if place is None:
        return ""
    numbers = [number for number, _ in known[place : place + len(sought)]]
    for number, line in zip(numbers, wanted, strict=True):
        if lines[number] != line:
            return (
                f"; only blanks differ: line {number + 1} of the file is "
                f"{lines[number][:120]!r}, and the passage has {line[:120]!r}"
            )
    return f"; only empty lines differ: it is in lines {numbers[0] + 1} to {numbers[-1] + 1}"


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
