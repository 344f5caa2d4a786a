"""The live view of the demo: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Final, Protocol

import click

from keruta_agent.cli.tables import display_width, fit
from keruta_agent.core.model import LogEntry, LogLevel, Task, TaskStatus

#: Log lines of one task that are shown; the others are counted.
MOST_LINES: Final = 8
#: Columns of a bar, and the least that a terminal needs for a bar with its text.
BAR: Final = 20
LEAST_COLUMNS: Final = 60

_COLOURS: Final = {
    TaskStatus.PROCESSING: "cyan",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
}


class View(Protocol):
    """The view of what happens, while it happens."""

    def show(self, tasks: Sequence[Task]) -> None:
        """Show the state of all tasks."""

    def log(self, task: Task, entries: Sequence[LogEntry]) -> None:
        """Show new log lines of a task."""


class Silent:
    """A view that shows nothing: the outcome is wanted as JSON."""

    def show(self, tasks: Sequence[Task]) -> None:
        """Show nothing."""

    def log(self, task: Task, entries: Sequence[LogEntry]) -> None:
        """Show nothing."""


class PlainLines:
    """A line for each change and each log line, with the time."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._logged: dict[str, int] = {}

    def show(self, tasks: Sequence[Task]) -> None:
        """Print the tasks that changed."""
        for task in tasks:
            text = described(task)
            if self._said.get(task.id) == text:
                continue
            self._said[task.id] = text
            if task.status.is_terminal:
                self._print_left_out(task)
            self._print(f"{task.name}: {text}")

    def log(self, task: Task, entries: Sequence[LogEntry]) -> None:
        """Print the first lines of each task's log."""
        logged = self._logged.get(task.id, 0)
        self._logged[task.id] = logged + len(entries)
        for entry in entries[: max(0, MOST_LINES - logged)]:
            self._print(log_line(task, entry))

    def _print_left_out(self, task: Task) -> None:
        left_out = self._logged.get(task.id, 0) - MOST_LINES
        if left_out > 0:
            self._print(f"{task.name} | ... and {left_out:,} more lines")

    def _print(self, text: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {text}")


class Bars:
    """A bar for each task, redrawn in place; the latest log lines run above them."""

    def __init__(self) -> None:
        self._tasks: Sequence[Task] = ()
        self._drawn = 0
        self._logged: dict[str, int] = {}

    def show(self, tasks: Sequence[Task]) -> None:
        """Redraw the bars."""
        if list(tasks) != list(self._tasks):
            self._tasks = tuple(tasks)
            self._draw([])

    def log(self, task: Task, entries: Sequence[LogEntry]) -> None:
        """Print the first lines of each task's log above the bars."""
        logged = self._logged.get(task.id, 0)
        self._logged[task.id] = logged + len(entries)
        shown = entries[: max(0, MOST_LINES - logged)]
        lines = [log_line(task, entry) for entry in shown]
        if logged <= MOST_LINES < logged + len(entries):
            lines.append(f"{task.name} | ...")
        if lines:
            self._draw(lines)

    def _draw(self, lines: Sequence[str]) -> None:
        columns = shutil.get_terminal_size().columns
        # Back to the first bar, and clear from there on: a line that wraps would spoil the count.
        text = f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
        text += "".join(f"{coloured(fit(line, columns), dim=True)}\n" for line in lines)
        widest = max((display_width(task.name) for task in self._tasks), default=0)
        for task in self._tasks:
            name = task.name + " " * (widest - display_width(task.name))
            rest = fit(f" {described(task)}", columns - widest - BAR - 3)
            text += f"{name} {_bar(task)}{rest}\n"
        self._drawn = len(self._tasks)
        click.echo(text, nl=False, color=True)  # moves, not colours, which `coloured` decides


def make_view(most_tasks: int) -> View:
    """Return bars where they can be drawn, plain lines otherwise."""
    size = shutil.get_terminal_size()
    drawable = (
        sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and size.columns >= LEAST_COLUMNS
        and size.lines > most_tasks + 1
    )
    return Bars() if drawable else PlainLines()


def coloured(text: str, *, fg: str | None = None, dim: bool = False) -> str:
    """Return text in a colour, unless NO_COLOR forbids it."""
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=fg, dim=dim or None)


def described(task: Task) -> str:
    """Return a task's state, progress and message in a few words."""
    percent = f" {task.progress}%" if task.status is TaskStatus.PROCESSING else ""
    message = _printable(task.message.partition("\n")[0])
    return f"{task.status.value}{percent}" + (f" {message}" if message else "")


def log_line(task: Task, entry: LogEntry) -> str:
    """Return a log entry as one line."""
    level = "" if entry.level is LogLevel.INFO else f"[{entry.level.value}] "
    return f"{task.name} | {level}{_printable(entry.message)}"


def _bar(task: Task) -> str:
    done = BAR * max(0, min(task.progress, 100)) // 100
    return coloured("[" + "#" * done + "." * (BAR - done) + "]", fg=_COLOURS.get(task.status))


def _printable(text: str) -> str:
    """Return text without characters that would drive the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
