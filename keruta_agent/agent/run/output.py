"""The new lines in a run's files, found and read back.

The script writes into files, not through the daemon. Whoever follows a run asks again and again
which new pieces there are; a piece ends at the end of a line, so that no line is torn, unless the
line is longer than ``LONGEST_LINE`` or the run has ended. A progress bar that goes on for ever
without a line end is cut where it rewrites itself, and only its last state counts.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keruta_agent.agent.run import screen
from keruta_agent.agent.run.files import open_regular

#: Bytes of one piece. Bigger ones would not travel faster, and cost memory.
PIECE_BYTES: Final = 256 * 1024
#: Bytes after which a line is cut, because it must fit into memory many times over.
LONGEST_LINE: Final = 64 * 1024

#: All of a line up to where the last text begins that is written over it.
_REWRITTEN: Final = re.compile(rb".*\r(?=[^\r\n])", re.DOTALL)

Piece = tuple[str, int, int]


class OutputFiles:
    """The growing files of one run."""

    def __init__(
        self, directory: Path, offsets: Mapping[str, int], *, piece_bytes: int = PIECE_BYTES
    ) -> None:
        """Open the streams and go on at these offsets (bytes already seen).

        Pieces are no longer than ``piece_bytes``, unless a single line is.
        """
        self._piece_bytes = piece_bytes
        self._offsets = dict(offsets)
        self._descriptors = {stream: open_regular(directory / stream) for stream in offsets}

    def close(self) -> None:
        """Close the files."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def new_pieces(self, *, final: bool = False) -> Iterator[Piece]:
        """Yield the pieces (stream, start, stop) that came since the last call.

        With ``final``, also the unfinished last lines. Where a piece ends inside a line depends
        on what was written and not on when somebody looked.
        """
        for stream, descriptor in self._descriptors.items():
            size = os.fstat(descriptor).st_size
            while (start := self._past_hole(stream, descriptor, size)) < size:
                stop = self._piece_end(descriptor, start, size, final=final)
                if stop is None:
                    break
                self._offsets[stream] = stop
                yield stream, start, stop

    def _past_hole(self, stream: str, descriptor: int, size: int) -> int:
        """Return where to go on: behind a hole that the script made (``truncate -s 4T``).

        Nobody wrote that, and to read it would take for ever.
        """
        start = self._offsets[stream]
        if size - start > LONGEST_LINE and _is_blank(descriptor, start):
            self._offsets[stream] = min(_next_data(descriptor, start), size)
        return self._offsets[stream]

    def _piece_end(self, descriptor: int, start: int, size: int, *, final: bool) -> int | None:
        """Return where the next piece ends: whole lines, or a part of one that is too long."""
        stop = _end_of_lines(descriptor, start, min(size, start + self._piece_bytes))
        if stop == start and self._piece_bytes <= LONGEST_LINE:
            stop = _end_of_line(descriptor, start)
        if stop > start:
            return stop
        if size - start > LONGEST_LINE:
            return _cut(descriptor, start)
        return size if final else None


def _is_blank(descriptor: int, start: int) -> bool:
    """Return whether a line that is too long begins there, and holds zeros only."""
    return os.pread(descriptor, 1, start) == b"\0" and not os.pread(
        descriptor, LONGEST_LINE, start
    ).strip(b"\0")


def _next_data(descriptor: int, start: int) -> int:
    """Return where something was written to again; far away when that is nowhere."""
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA)
    except OSError as exc:
        if exc.errno == errno.ENXIO:
            return sys.maxsize
        raise


def _end_of_lines(descriptor: int, start: int, stop: int) -> int:
    """Return the offset after the last line end before which no line is too long."""
    position = start
    while position < stop:
        found = _last_line_end(descriptor, position, min(stop, position + LONGEST_LINE + 1))
        if found is None:
            break
        position = found
    return position


def _end_of_line(descriptor: int, start: int) -> int:
    """Return the offset after a line, ``start`` when it has no end or is too long."""
    return start + os.pread(descriptor, LONGEST_LINE + 1, start).find(b"\n") + 1


def _last_line_end(descriptor: int, start: int, stop: int) -> int | None:
    """Return the offset after the last line end in a stretch, None when it holds none."""
    chunk = 4096
    while stop > start:
        begin = max(start, stop - chunk)
        found = os.pread(descriptor, stop - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        stop = begin
        chunk = LONGEST_LINE
    return None


def _cut(descriptor: int, start: int) -> int:
    """Return where to cut a line that is too long: where it is last rewritten, else anywhere."""
    rewritten = _REWRITTEN.match(os.pread(descriptor, LONGEST_LINE + 1, start))
    if rewritten is not None:
        return start + rewritten.end()
    return _between_characters(descriptor, start, start + LONGEST_LINE)


def is_superseded(data: bytes, after: bytes) -> bool:
    """Return whether a piece is a state of a line that what comes after it writes over."""
    return data.endswith(b"\r") and after[:1] not in (b"", b"\r", b"\n")


def _between_characters(descriptor: int, start: int, stop: int) -> int:
    """Move a cut in a long line back to where no UTF-8 character is torn."""
    tail = os.pread(descriptor, 4, stop)[:1]
    if not tail or tail[0] & 0xC0 != 0x80:
        return stop
    for back in range(1, 4):
        byte = os.pread(descriptor, 1, stop - back)
        if byte and byte[0] & 0xC0 != 0x80:
            return max(stop - back, start + 1)
    return stop


def read_bytes(path: Path, start: int, stop: int) -> bytes:
    """Return a stretch of a file."""
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(start)
        return file.read(stop - start)


def read_lines(path: Path, start: int, stop: int) -> list[str]:
    """Return the lines of a piece without their ends; bytes that are not UTF-8 become U+FFFD."""
    return split_lines(read_bytes(path, start, stop).decode("utf-8", errors="replace"))


def split_lines(text: str) -> list[str]:
    """Return the lines of a text without their ends."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def tail(path: Path, lines: int, *, begin: int = 0, most_bytes: int = 16 * 1024) -> list[str]:
    """Return the last lines of a file, as a terminal would show them, without colours.

    What stands before the byte ``begin`` does not count.
    """
    try:
        size = path.stat().st_size
        start = max(min(begin, size), size - most_bytes)
        found = [screen.render(line) for line in read_lines(path, start, size)]
    except OSError:  # the script put something else in its place
        return []
    if start > begin and len(found) > 1:
        found = found[1:]
    return found[-lines:]
