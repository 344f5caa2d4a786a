"""The view of a job's log: which entries, from where on, for people or for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from keruta_agent.agent.delivery.loglines import CONTINUES, LEVELS, OUR_METADATA, LogReader
from keruta_agent.agent.store.run import LogRange, Run
from keruta_agent.agent.store.runs import Runs
from keruta_agent.cli.tables import printable
from keruta_agent.core import errors
from keruta_agent.core.model import LogEntry, LogLevel
from keruta_agent.core.units import parse_duration
from keruta_agent.core.wire import format_date, parse_date

#: Ranges that are read at once, so that a log of any size needs little memory.
RANGES_A_READ: Final = 20
_ORDER: Final = list(LogLevel)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which entries are shown."""

    level: LogLevel | None
    streams: Sequence[str]
    since: datetime | None

    def __contains__(self, entry: LogEntry) -> bool:
        return (
            (self.level is None or _ORDER.index(entry.level) >= _ORDER.index(self.level))
            and entry.source in self.streams
            and (self.since is None or entry.timestamp is None or entry.timestamp >= self.since)
        )


def moment_of(text: str) -> datetime:
    """Return the time that a person means by a date, or by how long ago it was.

    Raises:
        UsageError: it is neither.
    """
    try:
        return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        moment = None if text.isdigit() else parse_date(text)
    if moment is None:
        raise errors.UsageError(
            f"{text} is no time", advice="Write how long ago, 10m or 2h, or 2026-05-04T03:02:01Z"
        )
    return moment


class Printer:
    """The printer of entries, for people or for programs."""

    def __init__(self, as_json: bool, timestamps: bool) -> None:
        self._as_json = as_json
        self._timestamps = timestamps
        #: Stream whose line was cut and goes on with the next entry.
        self._torn: str | None = None

    def print(self, entry: LogEntry) -> None:
        """Print one entry; a line that was cut is put together again."""
        if self._as_json:
            values = {**dataclasses.asdict(entry), "timestamp": format_date(entry.timestamp)}
            click.echo(json.dumps(values, ensure_ascii=False))
            return
        if self._torn not in (None, entry.source):
            click.echo()
        ours = entry.metadata.get(OUR_METADATA)
        is_torn = isinstance(ours, dict) and bool(ours.get(CONTINUES))
        is_new = self._torn != entry.source
        stamp = f"{format_date(entry.timestamp)} " if self._timestamps and is_new else ""
        click.echo(stamp + _text(entry), nl=not is_torn)
        self._torn = entry.source if is_torn else None


def _text(entry: LogEntry) -> str:
    fields = {name: value for name, value in entry.metadata.items() if name != OUR_METADATA}
    if not fields and entry.level is LEVELS.get(entry.source):
        return entry.message
    text = "".join(f" {printable(str(name))}={_value(value)}" for name, value in fields.items())
    return f"[{entry.level}] {entry.message}{text}"


def _value(value: object) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


class Shown:
    """What of a job's log was shown, and what comes next."""

    def __init__(
        self, reader: LogReader, runs: Runs, wanted: Wanted, printer: Printer, tail: int | None
    ) -> None:
        self._reader = reader
        self._runs = runs
        self._wanted = wanted
        self._printer = printer
        self._tail = tail
        self._next: dict[int, int] = {}

    @property
    def has_read_any(self) -> bool:
        """Whether there was anything, wanted or not."""
        return bool(self._next)

    def show_new(self, run: Run) -> bool:
        """Print what is new of a run's log; return whether there was anything."""
        if self._tail is not None and not self._next:
            return self._show_tail(run, self._tail)
        ranges = self._runs.ranges(run.id, first=self._next.get(run.id, 0), limit=RANGES_A_READ)
        for piece in ranges:
            for entry in self._entries(run, [piece]):
                self._printer.print(entry)
            self._next[run.id] = piece.sequence + 1
        sys.stdout.flush()
        return bool(ranges)

    def _show_tail(self, run: Run, number: int) -> bool:
        end = first = self._runs.range_count(run.id)
        if not end:
            return False
        last: list[LogEntry] = []
        while first and len(last) < number:
            stop, first = first, max(0, first - RANGES_A_READ)
            last = (
                self._entries(run, self._runs.ranges(run.id, first=first, limit=stop - first))
                + last
            )
        for entry in last[len(last) - number if number < len(last) else 0 :]:
            self._printer.print(entry)
        self._next[run.id] = end
        sys.stdout.flush()
        return True

    def _entries(self, run: Run, ranges: Sequence[LogRange]) -> list[LogEntry]:
        try:
            entries = self._reader.read(run.id, ranges)
        except FileNotFoundError as exc:
            raise errors.NotFound(
                f"the output of run {run.number} was removed to make room",
                advice="runs.keep_age and runs.keep_size say how long it is kept",
            ) from exc
        return [entry for entry in entries if entry in self._wanted]
