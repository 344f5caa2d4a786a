"""Reads ranges of a run's files back as log entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from keruta_agent.model import LogEntry, LogLevel
from keruta_agent.records.runs import LogRange, Run, Runs
from keruta_agent.runs import messages, output
from keruta_agent.runs.directory import RunDirectory

#: Much that is harmless goes to stderr, so it is not an error before the script fails.
_LEVELS = {"stdout": LogLevel.INFO, "stderr": LogLevel.WARN}


class LogReader:
    """Turns stored ranges into entries."""

    def __init__(self, runs: Runs, directory_of: Callable[[Run], RunDirectory]) -> None:
        self._runs = runs
        self._directory_of = directory_of

    def entries(self, run_id: int, sequences: Sequence[int]) -> list[LogEntry]:
        """Returns the log entries of these neighbouring ranges, in order."""
        directory = self._directory_of(self._runs.get(run_id))
        first, last = min(sequences), max(sequences)
        ranges = self._runs.ranges(run_id, first=first, limit=last - first + 1)
        wanted = set(sequences)
        return [
            entry
            for piece in ranges
            if piece.sequence in wanted
            for entry in read_entries(directory, piece)
        ]


def read_entries(directory: RunDirectory, piece: LogRange) -> list[LogEntry]:
    """Returns the log entries in one range."""
    lines = output.read_lines(directory.path / piece.stream, piece.start, piece.stop)
    seen = datetime.fromtimestamp(piece.read_at, tz=UTC)
    if piece.stream == "agent":
        return [entry for line in lines if (entry := _told_entry(line, seen)) is not None]
    level = _LEVELS[piece.stream]
    return [
        LogEntry(level=level, message=line, source=piece.stream, timestamp=seen) for line in lines
    ]


def _told_entry(line: str, seen: datetime) -> LogEntry | None:
    """Reads what ``keruta log`` said; other messages are no log entries."""
    try:
        told = messages.parse(line)
    except ValueError:  # said aloud by who followed the run
        return None
    if not isinstance(told, messages.LogTold):
        return None
    return LogEntry(
        level=told.level,
        message=told.message,
        source="agent",
        timestamp=seen,
        metadata=told.fields,
    )
