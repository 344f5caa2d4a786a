"""Bodies in chunks, read piece by piece.

The WSGI server's own reader takes each chunk into memory as a whole, and each line of sizes: one
chunk that says it is as large as the machine's memory would be the end of the process.
"""

from __future__ import annotations

import io
import re
from typing import Any, Final

#: Bytes of a line with a chunk's size, and of all that follows the last chunk.
MOST_OF_A_LINE: Final = 4096
MOST_TRAILERS: Final = 32 * 1024

_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?\r\n")


class Chunks(io.RawIOBase):
    """What the chunks of a body hold."""

    def __init__(self, source: Any) -> None:
        super().__init__()
        self._source = source
        self._left = 0
        self._has_ended = False

    def readable(self) -> bool:
        """Return whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as much as there is room for.

        Raises:
            ValueError: these are no chunks, or they end too early.
        """
        if not self._left and not self._has_ended:
            self._begin_chunk()
        if self._has_ended:
            return 0
        piece = self._source.read(min(len(buffer), self._left))
        if not piece:
            raise ValueError("the body ends in the middle of a chunk")
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        if not self._left and self._source.read(2) != b"\r\n":
            raise ValueError("a chunk is longer than it says")
        return len(piece)

    def _begin_chunk(self) -> None:
        size = _SIZE.fullmatch(self._source.readline(MOST_OF_A_LINE))
        if size is None:
            raise ValueError("a chunk does not say its size")
        self._left = int(size[1], 16)
        if not self._left:
            self._read_trailers()
            self._has_ended = True

    def _read_trailers(self) -> None:
        """Read past what follows the last chunk, to where the next request begins."""
        left = MOST_TRAILERS
        while left > 0:
            line = self._source.readline(left)
            if line in (b"\r\n", b""):
                return
            left -= len(line)
        raise ValueError("too much follows the last chunk")
