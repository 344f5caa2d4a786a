"""Where the clone of a repository is, and whether a directory may become one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keruta_agent.agent.workspace.made import MadeClones
from keruta_agent.git.repository.directory import Found, look
from keruta_agent.git.repository.notes import Notes
from keruta_agent.git.url import RepositoryUrl

#: What the agent and its server keep in the base directory; no clone may take these names.
_RESERVED: Final = frozenset(
    {"bin", "runs", "work", "run", "logs", "mirrors", "artifacts", "server", "doc", "clones"}
    | {"http-token", "http.json", "config.yaml"}
)
#: Databases, socket, lock and process id, with what SQLite puts beside a database.
_RESERVED_STARTS: Final = ("agent.", "queue.db")
#: Names that one repository may have below a parent, when tasks leave other things there.
MOST_NAMES: Final = 9


def choose(parent: Path, url: RepositoryUrl, made: MadeClones | None = None) -> Path:
    """Return the directory for a repository below a parent.

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
