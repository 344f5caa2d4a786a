"""Where the clone of a repository is, and whether a directory may become one."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

from keruta_agent import errors
from keruta_agent.workspace.state import Notes
from keruta_agent.workspace.url import RepositoryUrl

#: What the agent and its server keep in the base directory; no clone may take these names.
_RESERVED: Final = frozenset(
    {"bin", "runs", "work", "run", "logs", "mirrors", "artifacts", "server", "doc"}
    | {"http-token", "http.json", "config.yaml"}
)
#: Databases, socket, lock and process id, with what SQLite puts beside a database.
_RESERVED_STARTS: Final = ("agent.", "queue.db")


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
    notes = Notes(git_dir=directory / ".git")
    if notes.is_whole:
        return Found.OURS
    others = [path for path in directory.iterdir() if path.name != ".git"]
    if not others and (notes.is_ours or notes.is_mere_beginning):
        return Found.HALF_CLONE
    if notes.git_dir.exists():
        return Found.FOREIGN
    return Found.OTHER if others else Found.NOTHING


def choose(parent: Path, url: RepositoryUrl) -> Path:
    """Returns the directory for a repository below a parent.

    It bears the repository's name; a hash is added where another thing has the name already.
    """
    plain = parent / url.name
    hashed = parent / f"{url.name}-{url.digest}"
    if url.name in _RESERVED or url.name.startswith(_RESERVED_STARTS) or hashed.exists():
        return hashed
    found = look(plain)
    if found in (Found.NOTHING, Found.FOREIGN):
        return plain
    if found in (Found.OURS, Found.HALF_CLONE):
        return plain if Notes(git_dir=plain / ".git").identity in ("", url.identity) else hashed
    return hashed


def refuse(directory: Path) -> errors.WorkspaceError:
    """Returns the error for a directory that holds something else."""
    return errors.WorkspaceError(
        f"{directory} is not empty and holds no clone of the session's repository",
        advice="Set KERUTA_WORKING_DIR to an empty directory; this one is left as it is",
    )
