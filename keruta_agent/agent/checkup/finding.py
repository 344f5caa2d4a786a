"""What one check found."""

from __future__ import annotations

import dataclasses
import enum
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator

from keruta_agent.core import errors

logger = logging.getLogger(__name__)


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "ok"
    #: It works, but not as well as it could, or not for long.
    WARNING = "warning"
    #: Something that the agent needs is missing or broken.
    PROBLEM = "problem"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the check-up."""

    #: What was looked at, in a word or two.
    subject: str
    level: Level
    #: What was found.
    text: str
    #: What to do now; empty when there is nothing to do.
    advice: str = ""


def ok(subject: str, text: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(subject=subject, level=Level.OK, text=text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that a person should know of."""
    return Finding(subject=subject, level=Level.WARNING, text=text, advice=advice)


def problem(subject: str, text: str, advice: str) -> Finding:
    """Return a finding that keeps the agent from its work."""
    return Finding(subject=subject, level=Level.PROBLEM, text=text, advice=advice)


def attempt(subject: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Yield what a check finds; that it cannot be made is a finding too, and ends no check-up."""
    try:
        yield from check()
    except (OSError, sqlite3.Error, RuntimeError, ValueError, errors.KerutaError) as exc:
        yield problem(subject, f"cannot be checked: {exc}", "See more with --verbose")
        logger.debug("cannot check: %s", subject, exc_info=True, extra={"action": "unchecked"})


def room(size: int) -> str:
    """Return bytes as people talk of free space, such as ``12.3 GB`` or ``80 MB``."""
    return f"{size / 1024**3:.1f} GB" if size >= 1024**3 else f"{size / 1024**2:.0f} MB"
