"""Plain tables and times for people."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import click

#: Colours of states, so that what needs a look is found at a glance.
_COLOURS: Final = {
    **dict.fromkeys(("running", "PROCESSING", "waiting_for_input", "WAITING_FOR_INPUT"), "cyan"),
    **dict.fromkeys(("succeeded", "COMPLETED", "sent"), "green"),
    **dict.fromkeys(("scheduled", "failing", "cancelled", "CANCELLED", "stays here"), "yellow"),
    **dict.fromkeys(
        ("failed", "FAILED", "killed", "timed_out", "input_timeout", "lost", "out_of_memory"), "red"
    ),
    **dict.fromkeys(("disk_full", "not_started", "parked", "agent_stopped", "refused"), "red"),
}


#: Columns that a cell keeps however narrow the terminal is.
NARROWEST: Final = 12


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, is_overview: bool = False
) -> None:
    """Print rows under a header, each column as wide as its widest cell; states in colour.

    The cells of an overview are cut to what fits into the terminal, if it goes to one.
    """
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(display_width(row[column]) for row in cells) for column in range(len(header))]
    if is_overview:
        _shrink(widths, _columns())
    for number, row in enumerate(cells):
        row = [fit(cell, width) for cell, width in zip(row, widths, strict=True)]
        padded = [
            cell + " " * (width - display_width(cell))
            for cell, width in zip(row, widths, strict=True)
        ]
        padded[-1] = padded[-1].rstrip()
        if number == 0:
            click.echo(click.style("  ".join(padded).rstrip(), bold=True))
            continue
        for column, name in enumerate(header):
            colour = _COLOURS.get(row[column]) if name == "STATE" else None
            if colour is not None:
                padded[column] = click.style(padded[column], fg=colour)
        click.echo("  ".join(padded).rstrip())


def fit(text: str, columns: int) -> str:
    """Cut text to the columns of a terminal."""
    if display_width(text) <= columns:
        return text
    kept, left = [], columns - 3
    for character in text:
        left -= display_width(character)
        if left < 0:
            break
        kept.append(character)
    return "".join(kept) + "..."


def _columns() -> int | None:
    """Return the columns of the terminal; None when the table does not go to one."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return None


def _shrink(widths: list[int], columns: int | None) -> None:
    """Make the widest columns of a table narrower until all of it fits into the terminal."""
    while columns and sum(widths) + 2 * (len(widths) - 1) > columns:
        widest = widths.index(max(widths))
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1


def printable(text: str) -> str:
    """Return text without what would act on a terminal: escapes, and marks of direction."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def ago(unix_time: float | None, now: float) -> str:
    """Return how long ago something was, such as ``3m``."""
    return "" if unix_time is None else duration(max(0.0, now - unix_time))


def duration(seconds: float) -> str:
    """Return a time span in one or two units, such as ``1.2s`` or ``2h05m``."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"


def local_time(unix_time: float) -> str:
    """Return a point in time in this machine's zone."""
    return datetime.fromtimestamp(unix_time).astimezone().isoformat(sep=" ", timespec="seconds")


def display_width(text: str) -> int:
    """Return the columns that a terminal needs: Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
