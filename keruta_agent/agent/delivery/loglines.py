"""Log entries, read back from ranges of a run's files.

What a range becomes depends on nothing but the files: it has the same entries at every reading, so
that a repeated request to the API is the same request.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from keruta_agent.agent.delivery import groups, structured
from keruta_agent.agent.delivery.redaction import Redaction
from keruta_agent.agent.run import messages, output, screen
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.store.run import LogRange, Run
from keruta_agent.agent.store.runs import Runs
from keruta_agent.core.model import LogEntry, LogLevel
from keruta_agent.core.redaction.redactor import Redactor, mask_named

#: Much that is harmless goes to stderr, so it is not an error before the script fails.
LEVELS: Final = {"stdout": LogLevel.INFO, "stderr": LogLevel.WARN}
#: Where in an entry's metadata stands what we ourselves know about a line.
OUR_METADATA: Final = "keruta"
#: There: the group that the line stands in.
GROUP: Final = "group"
#: There: the line was cut because it is too long, and the next one of its stream goes on with it.
CONTINUES: Final = "continues"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Text:
    """A range of output, and the output around it."""

    before: bytes
    data: bytes
    after: bytes

    @property
    def is_torn(self) -> bool:
        """Whether its last line continues after it."""
        return not self.data.endswith(b"\n") and bool(self.after)


class LogReader:
    """A reader of stored ranges as log entries, secrets masked. Safe to share."""

    def __init__(
        self,
        runs: Runs,
        directory_of: Callable[[Run], RunDirectory],
        redaction: Redaction,
        *,
        colours: bool = False,
    ) -> None:
        """Take what it reads from; with ``colours``, lines keep their colour sequences."""
        self._runs = runs
        self._directory_of = directory_of
        self._redaction = redaction
        self._colours = colours
        self._groups = groups.OpenGroups(runs)

    def entries(self, run_id: int, sequences: Sequence[int]) -> list[LogEntry]:
        """Return the log entries of these neighbouring ranges, in order."""
        first, last = min(sequences), max(sequences)
        ranges = self._runs.ranges(run_id, first=first, limit=last - first + 1)
        wanted = set(sequences)
        return self.read(run_id, [piece for piece in ranges if piece.sequence in wanted])

    def read(self, run_id: int, pieces: Sequence[LogRange]) -> list[LogEntry]:
        """Return the log entries in ranges of one run."""
        run = self._runs.get(run_id)
        directory = self._directory_of(run)
        redactor = self._redaction.of_run(run_id)
        entries: list[LogEntry] = []
        for piece in pieces:
            group = self._groups.before(run, directory, piece.sequence)
            if piece.stream == "agent":
                entries += _message_entries(directory, piece, redactor, group, self._colours)
            else:
                found, group = _output_entries(directory, piece, redactor, group, self._colours)
                entries += found
            self._groups.remember(run, piece.sequence + 1, group)
        return entries


def _output_entries(
    directory: RunDirectory,
    piece: LogRange,
    redactor: Redactor,
    group: str | None,
    colours: bool,
) -> tuple[list[LogEntry], str | None]:
    """Return the entries of what the script printed, and the group that is open behind them."""
    text = _read(directory, piece, redactor.reach)
    if output.is_superseded(text.data, text.after):
        return [], group
    seen = datetime.fromtimestamp(piece.read_at, tz=UTC)
    lines = _lines(text, redactor, colours)
    entries: list[LogEntry] = []
    for part, stands_in in _by_group(lines, text, group):
        entries += _entries(part, piece.stream, seen, redactor, _ours(stands_in))
        group = stands_in
    if text.is_torn:
        ours = {**_ours(group), CONTINUES: True}
        torn = entries[-1]
        entries[-1] = dataclasses.replace(torn, metadata={**torn.metadata, OUR_METADATA: ours})
    return entries, group


def _by_group(
    lines: list[str], text: _Text, group: str | None
) -> Iterator[tuple[list[str], str | None]]:
    """Yield lines in parts, each with its group; a marker belongs to its own."""
    if not groups.may_hold_marker(text.data):
        yield lines, group
        return
    part: list[str] = []
    for line in lines:
        opened = groups.after(line, group)
        if opened is not None and opened != group:
            yield part, group
            part, group = [], opened
        part.append(line)
        if opened is None and group is not None:
            yield part, group
            part, group = [], None
    yield part, group


def _read(directory: RunDirectory, piece: LogRange, reach: int) -> _Text:
    begin = max(0, piece.start - reach)
    data = output.read_bytes(directory.path / piece.stream, begin, piece.stop + reach)
    start, stop = piece.start - begin, piece.stop - begin
    return _Text(before=data[:start], data=data[start:stop], after=data[stop:])


def _lines(text: _Text, redactor: Redactor, colours: bool) -> list[str]:
    """Return the lines of a range as a terminal would show them, with their secrets masked."""
    # A secret may begin before this range, or go on behind it.
    before, data, after = (
        part.decode("utf-8", errors="replace") for part in (text.before, text.data, text.after)
    )
    if not screen.has_controls(text.before + text.data):
        return _without_last_end(redactor.redact_window(before, data, after).split("\n"), text)
    # Masked as it is shown: a colour in the middle of a secret hides it from no reader.
    plain = screen.render_lines(data)
    masked = redactor.redact_window(
        "\n".join(screen.render_lines(before)),
        "\n".join(plain),
        "\n".join(screen.render_lines(after)),
    ).split("\n")
    if colours:
        coloured = screen.render_lines(data, colours=True)
        masked = [
            shown if line == bare else line
            for shown, bare, line in zip(coloured, plain, masked, strict=True)
        ]
    return _without_last_end(masked, text)


def _without_last_end(lines: list[str], text: _Text) -> list[str]:
    """Return the lines without the empty one after the last line end."""
    return lines[:-1] if text.data.endswith(b"\n") else lines


def _entries(
    lines: list[str], stream: str, seen: datetime, redactor: Redactor, ours: Mapping[str, Any]
) -> list[LogEntry]:
    level = LEVELS[stream]
    metadata = {OUR_METADATA: ours} if ours else {}
    plain = [
        LogEntry(level=level, message=line, source=stream, timestamp=seen, metadata=metadata)
        for line in lines
    ]
    return [
        _structured(entry, redactor) if entry.message.endswith("}") else entry for entry in plain
    ]


def _structured(entry: LogEntry, redactor: Redactor) -> LogEntry:
    """Return the entry that a JSON line describes; any other line as it is."""
    found = structured.recognise(entry.message)
    if found is None:
        return entry
    message, fields = found.message, found.fields
    if "\\" in entry.message:
        # Escaped characters were no secrets, nor sequences, before they were read.
        message = redactor.redact("\n".join(screen.render_lines(message)))
        fields = redactor.redact_object(fields)
    else:
        fields = mask_named(fields)
    return LogEntry(
        level=found.level,
        message=message,
        source=entry.source,
        timestamp=entry.timestamp,
        metadata={**entry.metadata, **fields},
    )


def _ours(group: str | None) -> dict[str, Any]:
    return {} if group is None else {GROUP: group}


def _message_entries(
    directory: RunDirectory,
    piece: LogRange,
    redactor: Redactor,
    group: str | None,
    colours: bool,
) -> Iterator[LogEntry]:
    """Yield the messages of ``keruta log``; other messages are no log entries."""
    ours = _ours(group)
    seen = datetime.fromtimestamp(piece.read_at, tz=UTC)
    for line in output.read_lines(directory.path / piece.stream, piece.start, piece.stop):
        try:
            parsed = messages.parse(line)
        except ValueError:  # logged by the follower of the run
            continue
        if not isinstance(parsed, messages.LogMessage):
            continue
        fields = redactor.redact_object(structured.safe_fields(parsed.fields))
        metadata = {OUR_METADATA: ours} if ours else {}
        message = "\n".join(screen.render_lines(parsed.message, colours=colours))
        yield LogEntry(
            level=parsed.level,
            message=redactor.redact(message),
            source="agent",
            timestamp=seen,
            metadata={**metadata, **fields},
        )
