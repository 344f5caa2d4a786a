"""What a migration found."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One old name and what takes its place."""

    #: File, with the line where it has one.
    place: str
    old: str
    advice: str
    #: Whether a person has to decide or do something; else it is done in the new file.
    needs_person: bool
