"""Text without the control sequences of a terminal, which may stand in the middle of a secret.

Programs colour names and values apart, and a shell redraws what is typed.
"""

from __future__ import annotations

import bisect
import re
from typing import Final

Span = tuple[int, int]

#: With what a sequence begins: as a terminal reads it, and as JSON has it (recordings are JSON).
BEGINS: Final = (b"\x1b", b"\\u001b", b"\\u001B", b"\\x1b")
_SEQUENCE: Final = re.compile(
    rb"(?:\x1b|\\u001[bB]|\\x1b)(?:\[[0-?]{0,64}+[ -/]{0,4}+[@-~]|[()][0-9A-Z]|[=>78cDEHM])"
)


class Plain:
    """A text without its control sequences."""

    def __init__(self, data: bytes) -> None:
        pieces, self._starts, self._originals = [], [0], [0]
        end = length = 0
        for found in _SEQUENCE.finditer(data):
            pieces.append(data[end : found.start()])
            length += found.start() - end
            end = found.end()
            self._starts.append(length)
            self._originals.append(end)
        pieces.append(data[end:])
        self.data = b"".join(pieces)

    def original(self, span: Span) -> Span:
        """Return the span in the text with sequences for one of the plain text."""
        start, end = span
        return self._place(start), self._place(end - 1) + 1

    def _place(self, index: int) -> int:
        piece = bisect.bisect_right(self._starts, index) - 1
        return self._originals[piece] + index - self._starts[piece]
