"""Groups in a log: the lines between ``::group::NAME`` and ``::endgroup::``, as on GitHub.

A group is open for all streams of a run from where it was seen; a new one ends the one before.
The markers are lines of the output like any other and stay in the log.
"""

from __future__ import annotations

import collections
import re
from typing import Final

from keruta_agent.agent.run import output, screen
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.store.run import LogRange, Run
from keruta_agent.agent.store.runs import Runs

MARK: Final = b"group::"
_MARKER: Final = re.compile(r"\s*::(?:group::(?P<name>.*)|(?P<end>endgroup)::.*)", re.DOTALL)
#: Bytes before a piece in which the group that it stands in is looked for.
FARTHEST: Final = 16 * 1024 * 1024
_RANGES_A_LOOK: Final = 100
#: Longest name that travels with each line.
_LONGEST_NAME: Final = 200
_REMEMBERED: Final = 256


def may_hold_marker(data: bytes) -> bool:
    """Return quickly whether a text may open or close a group."""
    return MARK in data


def is_marker(line: str) -> bool:
    """Return whether a line opens or closes a group."""
    return _MARKER.fullmatch(line) is not None


def after(line: str, group: str | None) -> str | None:
    """Return the group that is open behind a line."""
    found = _MARKER.fullmatch(line)
    if found is None:
        return group
    return None if found["end"] else found["name"].strip()[:_LONGEST_NAME]


class OpenGroups:
    """The groups that are open where the pieces of a run's log begin."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._known: collections.OrderedDict[tuple[int, int], str | None] = (
            collections.OrderedDict()
        )

    def before(self, run: Run, directory: RunDirectory, sequence: int) -> str | None:
        """Return the group that is open where the piece of this number begins."""
        try:
            return self._known[run.id, sequence]
        except KeyError:
            group = self._look_back(run, directory, sequence)
            self.remember(run, sequence, group)
            return group

    def remember(self, run: Run, sequence: int, group: str | None) -> None:
        """Note which group is open where the piece of this number begins."""
        self._known[run.id, sequence] = group
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _look_back(self, run: Run, directory: RunDirectory, sequence: int) -> str | None:
        looked_at = 0
        while sequence > 0 and looked_at < FARTHEST:
            first = max(0, sequence - _RANGES_A_LOOK)
            for piece in reversed(self._runs.ranges(run.id, first=first, limit=sequence - first)):
                if (run.id, piece.sequence + 1) in self._known:
                    return self._known[run.id, piece.sequence + 1]
                looked_at += piece.stop - piece.start
                found, group = _last_marker(directory, piece)
                if found:
                    return group
            sequence = first
        return None


def _last_marker(directory: RunDirectory, piece: LogRange) -> tuple[bool, str | None]:
    """Return whether a piece opens or closes a group, and what is open behind it."""
    if piece.stream == "agent":
        return False, None
    data = output.read_bytes(directory.path / piece.stream, piece.start, piece.stop)
    if not may_hold_marker(data):
        return False, None
    for line in reversed(screen.render_lines(data.decode("utf-8", errors="replace"))):
        if _MARKER.fullmatch(line):
            return True, after(line, None)
    return False, None
