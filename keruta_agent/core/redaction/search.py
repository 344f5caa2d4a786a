"""A fast search for hundreds of known byte strings at once.

A regular expression of so many alternatives, or one search for each, reads a few MB per second.
Here the text is read as numbers of four bytes, and a set is asked for each: every string of seven
bytes or more, wherever it stands, holds one whole number at an address that four divides; one of
eleven bytes holds one at an address that eight divides, so that every second number is enough. What
the set knows is then compared in full, so that nothing is found that is not there.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterable
from typing import Final

Span = tuple[int, int]

_GRAM: Final = 4
#: So many strings too short for every second number are searched one by one in the same time.
_FEW: Final = 6
#: Bytes that are asked for in one call. Each hit, also a false one, costs a second look at a block:
#: hexadecimal forms of secrets share some numbers with every list of digests.
_BLOCK: Final = 1024
#: Each byte -> its kind: capital, small letter, digit, anything else.
_KINDS: Final = bytes(
    (character.isupper() << 1) | character.islower() | (character.isdigit() << 2)
    for character in map(chr, range(128))
) + bytes(128)
_BREAK: Final = re.compile(rb"[\r\n]")


class Search:
    """Byte strings without line breaks, made ready to be looked for."""

    def __init__(self, needles: Iterable[bytes]) -> None:
        self.needles = frozenset(needle for needle in needles if needle)
        self.longest = max(map(len, self.needles), default=0)
        step = 2 * _GRAM
        if sum(len(needle) < step + _GRAM - 1 for needle in self.needles) > _FEW:
            step = _GRAM
        #: Bytes from one number that is asked for to the next.
        self._step = step
        self._short = [needle for needle in self.needles if len(needle) < step + _GRAM - 1]
        #: Four bytes as a number -> the strings that hold them, and where in the string.
        self._grams: dict[int, list[tuple[bytes, int]]] = {}
        for needle in self.needles.difference(self._short):
            first = _rarest_part(needle, step + _GRAM - 1)
            for offset in range(first, first + step):
                gram = memoryview(needle)[offset : offset + _GRAM].cast("I")[0]
                self._grams.setdefault(gram, []).append((needle, offset))
        self._known = frozenset(self._grams)

    def spans(self, data: bytes) -> list[Span]:
        """Return the spans of the strings, in no order; line breaks in the text do not count."""
        if not self.needles:
            return []
        joined = data.replace(b"\n", b"").replace(b"\r", b"")
        found = self._long_spans(joined)
        for needle in self._short:
            found += _all_of(needle, joined)
        return found if not found or len(joined) == len(data) else _with_breaks(found, data)

    def _long_spans(self, data: bytes) -> list[Span]:
        if not self._grams:
            return []
        known = self._known
        numbers = memoryview(data)[: len(data) // _GRAM * _GRAM].cast("I")[:: self._step // _GRAM]
        size = _BLOCK // self._step
        found: list[Span] = []
        for begin in range(0, len(numbers), size):
            block = numbers[begin : begin + size]
            if known.isdisjoint(block):
                continue
            hits = itertools.compress(itertools.count(begin), map(known.__contains__, block))
            for hit in hits:
                for needle, offset in self._grams[numbers[hit]]:
                    start = hit * self._step - offset
                    if start >= 0 and data.startswith(needle, start):
                        found.append((start, start + len(needle)))
        return found


def _rarest_part(needle: bytes, length: int) -> int:
    """Return where the part begins whose kinds of characters change most.

    Words and numbers are in every log: "2024" as a part of a secret would be a false hit each line.
    """
    kinds = needle.translate(_KINDS)
    changes = [0, *itertools.accumulate(a != b for a, b in itertools.pairwise(kinds))]
    return max(
        range(len(needle) - length + 1),
        key=lambda begin: changes[begin + length - 1] - changes[begin],
    )


def _all_of(needle: bytes, data: bytes) -> list[Span]:
    found = []
    start = data.find(needle)
    while start >= 0:
        found.append((start, start + len(needle)))
        start = data.find(needle, start + 1)
    return found


def _with_breaks(spans: list[Span], data: bytes) -> list[Span]:
    """Return spans of the text without line breaks as spans of the text with them."""
    breaks = [found.start() - number for number, found in enumerate(_BREAK.finditer(data))]

    def place(index: int) -> int:
        return index + bisect.bisect_right(breaks, index)

    return [(place(start), place(end - 1) + 1) for start, end in spans]
