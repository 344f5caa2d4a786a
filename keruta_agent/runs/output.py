"""Finds the new lines in a run's files and reads them back.

The script writes into files, not through the daemon. Whoever follows a run asks again and again
which new pieces there are; a piece ends at the end of a line, so that no line is torn, unless the
line is longer than ``LONGEST_LINE`` or the run has ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keruta_agent.runs.files import open_regular

#: Bytes of one piece. Bigger ones would not travel faster, and cost memory.
PIECE_BYTES: Final = 256 * 1024
#: Bytes after which a line is cut, because it must fit into memory many times over.
LONGEST_LINE: Final = 64 * 1024

Piece = tuple[str, int, int]


class OutputFiles:
    """The growing files of one run."""

    def __init__(self, directory: Path, offsets: Mapping[str, int]) -> None:
        """Opens the streams and goes on at these offsets (bytes already seen)."""
        self._offsets = dict(offsets)
        self._descriptors = {stream: open_regular(directory / stream) for stream in offsets}

    def close(self) -> None:
        """Closes the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def new_pieces(self, *, final: bool = False) -> Iterator[Piece]:
        """Yields the pieces (stream, start, stop) that came since the last call.

        With ``final``, also the unfinished last lines.
        """
        for stream, descriptor in self._descriptors.items():
            size = os.fstat(descriptor).st_size
            while self._offsets[stream] < size:
                start = self._offsets[stream]
                stop = _piece_end(descriptor, start, min(size, start + PIECE_BYTES))
                if stop is None:
                    at_end = start + PIECE_BYTES >= size
                    if at_end and not final and size - start < LONGEST_LINE:
                        break
                    stop = _between_characters(descriptor, start, min(size, start + LONGEST_LINE))
                self._offsets[stream] = stop
                yield stream, start, stop

    def backlog(self) -> bool:
        """Tells whether any file has bytes that were not seen."""
        return any(
            os.fstat(descriptor).st_size > self._offsets[stream]
            for stream, descriptor in self._descriptors.items()
        )


def _piece_end(descriptor: int, start: int, stop: int) -> int | None:
    """Returns the offset after the last line end in a stretch, None when it holds none."""
    chunk = 4096
    while stop > start:
        begin = max(start, stop - chunk)
        found = os.pread(descriptor, stop - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        stop = begin
        chunk = LONGEST_LINE
    return None


def _between_characters(descriptor: int, start: int, stop: int) -> int:
    """Moves a cut in a long line back to where no UTF-8 character is torn."""
    tail = os.pread(descriptor, 4, stop)[:1]
    if not tail or tail[0] & 0xC0 != 0x80:
        return stop
    for back in range(1, 4):
        byte = os.pread(descriptor, 1, stop - back)
        if byte and byte[0] & 0xC0 != 0x80:
            return max(stop - back, start + 1)
    return stop


def read_text(path: Path, start: int, stop: int) -> str:
    """Returns a stretch of a file as text; bytes that are not UTF-8 become U+FFFD."""
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(start)
        return file.read(stop - start).decode("utf-8", errors="replace")


def read_lines(path: Path, start: int, stop: int) -> list[str]:
    """Returns the lines of a piece without their ends; bytes that are not UTF-8 become U+FFFD."""
    return split_lines(read_text(path, start, stop))


def split_lines(text: str) -> list[str]:
    """Returns the lines of a text without their ends."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def tail(path: Path, lines: int, *, most_bytes: int = 16 * 1024) -> list[str]:
    """Returns the last lines of a file."""
    try:
        size = path.stat().st_size
        start = max(0, size - most_bytes)
        found = read_lines(path, start, size)
    except OSError:  # the script put something else in its place
        return []
    if start > 0 and len(found) > 1:
        found = found[1:]
    return found[-lines:]
