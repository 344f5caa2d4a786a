"""Where the clone of a repository is, and whether a directory may become one."""

from __future__ import annotations

import enum
import os
import shlex
from pathlib import Path
from typing import Final

from keruta_agent import errors, file_trees
from keruta_agent.git.notes import NOTES, Notes
from keruta_agent.git.url import RepositoryUrl
from keruta_agent.workspace.made import MadeClones

#: What the agent and its server keep in the base directory; no clone may take these names.
_RESERVED: Final = frozenset(
    {"bin", "runs", "work", "run", "logs", "mirrors", "artifacts", "server", "doc", "clones"}
    | {"http-token", "http.json", "config.yaml"}
)
#: Databases, socket, lock and process id, with what SQLite puts beside a database.
_RESERVED_STARTS: Final = ("agent.", "queue.db")
#: Names that one repository may have below a parent, when tasks leave other things there.
MOST_NAMES: Final = 9


class Found(enum.Enum):
    """What there is in a directory that is to be a clone."""

    NOTHING = enum.auto()
    #: Begun by an agent that was killed: it may be removed.
    HALF_CLONE = enum.auto()
    OURS = enum.auto()
    #: A clone that somebody else made.
    FOREIGN = enum.auto()
    #: Something that is no clone.
    OTHER = enum.auto()


def look(directory: Path) -> Found:
    """Tells what a directory holds."""
    if directory.is_symlink() and not directory.exists():
        return Found.OTHER
    if not directory.exists():
        return Found.NOTHING
    if not directory.is_dir():
        return Found.OTHER
    open_gate(directory)
    notes = Notes(git_dir=directory / ".git")
    if notes.is_whole:
        return Found.OURS
    try:
        others = [path for path in directory.iterdir() if path.name != ".git"]
    except OSError:
        return Found.OTHER
    if not others and (notes.is_ours or notes.is_mere_beginning):
        return Found.HALF_CLONE
    if notes.git_dir.exists():
        return Found.FOREIGN
    return Found.OTHER if others else Found.NOTHING


def open_gate(directory: Path) -> None:
    """Let us list a directory that is or may be a clone, where a task took that from us."""
    for place in (directory, directory / ".git", directory / ".git" / NOTES):
        if file_trees.is_directory(place) and not os.access(place, os.R_OK | os.X_OK):
            file_trees.make_usable(place)


def choose(parent: Path, url: RepositoryUrl, made: MadeClones | None = None) -> Path:
    """Returns the directory for a repository below a parent.

    It bears the repository's name; a hash is added where another thing has the name already, and a
    number where that name is taken too. A broken clone that the agent made keeps its name.
    """
    plain = parent / url.name
    hashed = parent / f"{url.name}-{url.digest}"
    if made is not None:
        broken = [place for place in (hashed, plain) if made.has_made(place, url.identity)]
        if broken:
            return broken[0]
    if url.name in _RESERVED or url.name.startswith(_RESERVED_STARTS) or hashed.exists():
        return _free(hashed)
    found = look(plain)
    if found in (Found.NOTHING, Found.FOREIGN):
        return plain
    if found in (Found.OURS, Found.HALF_CLONE):
        return plain if Notes(git_dir=plain / ".git").identity in ("", url.identity) else hashed
    return _free(hashed)


def _free(hashed: Path) -> Path:
    """Return the first of the names in which something else is not in the way."""
    more = (hashed.with_name(f"{hashed.name}-{number}") for number in range(2, MOST_NAMES + 1))
    return next((place for place in (hashed, *more) if look(place) is not Found.OTHER), hashed)


def refuse(directory: Path) -> errors.WorkspaceError:
    """Returns the error for a directory that holds something else."""
    return errors.WorkspaceError(
        f"{directory} is not empty and holds no clone of the session's repository",
        advice="Set KERUTA_WORKING_DIR to an empty directory, or move this one away: "
        f"mv {shlex.quote(str(directory))} {shlex.quote(f'{directory}.other')}",
    )
