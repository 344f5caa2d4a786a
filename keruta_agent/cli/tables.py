"""Plain tables and times for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

import click


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints rows under a header, each column as wide as its widest cell."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(display_width(row[column]) for row in cells) for column in range(len(header))]
    for number, row in enumerate(cells):
        padded = [
            cell + " " * (width - display_width(cell))
            for cell, width in zip(row, widths, strict=True)
        ]
        line = "  ".join(padded).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)


def printable(text: str) -> str:
    """Returns text without what would act on a terminal: escapes, and marks of direction."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def ago(unix_time: float | None, now: float) -> str:
    """Returns how long ago something was, such as ``3m``."""
    return "" if unix_time is None else duration(max(0.0, now - unix_time))


def duration(seconds: float) -> str:
    """Returns a time span in one or two units, such as ``1.2s`` or ``2h05m``."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def local_time(unix_time: float) -> str:
    """Returns a point in time in this machine's zone."""
    return datetime.fromtimestamp(unix_time).astimezone().isoformat(sep=" ", timespec="seconds")


def display_width(text: str) -> int:
    """Returns the columns that a terminal needs: Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
