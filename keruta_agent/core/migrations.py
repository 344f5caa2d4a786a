"""One way for every database of this package to reach the schema that the program expects.

A schema is a list of steps that are applied once each, in order. A released step is never edited:
a change is a new step at the end. The caller's transaction holds all that is missing, so that a
process that is killed in the middle leaves the database as it was.

With what is applied the program's version is noted. A database that has seen steps which this
program lacks is refused by that version's name: to write to it could break what the newer one
relies on.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence

from keruta_agent import __version__
from keruta_agent.core import errors


@dataclasses.dataclass(frozen=True)
class Step:
    """One change of a schema; its name begins with its number, such as ``0003_artifacts``."""

    name: str
    statements: Iterable[str]

    @property
    def number(self) -> int:
        """Its place among the steps, from 1."""
        return int(self.name[:4])


Steps = Sequence[Step]


def apply(
    steps: Steps,
    *,
    is_applied: Callable[[Step], bool],
    execute: Callable[[str], object],
    note: Callable[[Step], object],
) -> None:
    """Apply the steps that a database has not seen, in the caller's transaction.

    That must keep other writers out from its beginning: two processes may start at once.

    Args:
        steps: the whole schema.
        is_applied: whether the database notes a step as applied.
        execute: executes one statement.
        note: notes a step as applied.
    """
    for step in steps:
        if is_applied(step):
            continue
        for statement in step.statements:
            execute(statement)
        note(step)


def newer_schema(what: str, written_by: str | None, *, otherwise: str) -> errors.AgentStateError:
    """Return the refusal of a database with steps that this program lacks, or of a copy.

    Args:
        what: is refused, such as ``the database PATH``.
        written_by: the version that is noted there; None where none is.
        otherwise: the way back without that version.
    """
    # A version under development has the number of the release before it.
    named = None if written_by == __version__ else written_by
    writer = "a newer keruta-agent" if named is None else f"a newer keruta-agent, {named},"
    wanted = "the version that wrote it" if named is None else f"keruta-agent {named} or later"
    return errors.AgentStateError(
        f"{what} was written by {writer} than this one ({__version__})",
        advice=f"Install {wanted}, or {otherwise}",
    )


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; sqlite3's ``executescript`` would commit before each."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
