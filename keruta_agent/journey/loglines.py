"""Reads ranges of a run's files back as log entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from keruta_agent.journey.redaction import Redaction
from keruta_agent.model import LogEntry, LogLevel
from keruta_agent.observe.redact import Redactor
from keruta_agent.records.run import LogRange, Run
from keruta_agent.records.runs import Runs
from keruta_agent.runs import messages, output
from keruta_agent.runs.directory import RunDirectory

#: Much that is harmless goes to stderr, so it is not an error before the script fails.
_LEVELS = {"stdout": LogLevel.INFO, "stderr": LogLevel.WARN}


class LogReader:
    """Turns stored ranges into entries, with their secrets masked."""

    def __init__(
        self, runs: Runs, directory_of: Callable[[Run], RunDirectory], redaction: Redaction
    ) -> None:
        self._runs = runs
        self._directory_of = directory_of
        self._redaction = redaction

    def entries(self, run_id: int, sequences: Sequence[int]) -> list[LogEntry]:
        """Returns the log entries of these neighbouring ranges, in order."""
        first, last = min(sequences), max(sequences)
        ranges = self._runs.ranges(run_id, first=first, limit=last - first + 1)
        wanted = set(sequences)
        return self.read(run_id, [piece for piece in ranges if piece.sequence in wanted])

    def read(self, run_id: int, pieces: Sequence[LogRange]) -> list[LogEntry]:
        """Returns the log entries in ranges of one run."""
        directory = self._directory_of(self._runs.get(run_id))
        redactor = self._redaction.of_run(run_id)
        return [entry for piece in pieces for entry in _entries(directory, piece, redactor)]


def _entries(directory: RunDirectory, piece: LogRange, redactor: Redactor) -> list[LogEntry]:
    path = directory.path / piece.stream
    seen = datetime.fromtimestamp(piece.read_at, tz=UTC)
    if piece.stream == "agent":
        told = output.split_lines(output.read_text(path, piece.start, piece.stop))
        return [entry for line in told if (entry := _told_entry(line, seen, redactor)) is not None]
    level = _LEVELS[piece.stream]
    # A secret may begin before this range, or go on behind it.
    text = redactor.redact_window(
        output.read_text(path, max(0, piece.start - redactor.reach), piece.start),
        output.read_text(path, piece.start, piece.stop),
        output.read_text(path, piece.stop, piece.stop + redactor.reach),
    )
    return [
        LogEntry(level=level, message=line, source=piece.stream, timestamp=seen)
        for line in output.split_lines(text)
    ]


def _told_entry(line: str, seen: datetime, redactor: Redactor) -> LogEntry | None:
    """Reads what ``keruta log`` said; other messages are no log entries."""
    try:
        told = messages.parse(line)
    except ValueError:  # said aloud by who followed the run
        return None
    if not isinstance(told, messages.LogTold):
        return None
    metadata = redactor.redact_value(told.fields)
    return LogEntry(
        level=told.level,
        message=redactor.redact(told.message),
        source="agent",
        timestamp=seen,
        metadata=metadata if isinstance(metadata, dict) else {},
    )
