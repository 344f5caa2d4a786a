"""Where the agent made clones, for when a task has removed the notes in them.

Kept outside of the clones. A directory is known by what no other one has: its device, its number
there, and the moment of its birth, so that a directory which a person put in its place is not
taken for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from keruta_agent.core import atomic_file, file_trees
from keruta_agent.core.process_tree.children import OWN

#: Seconds that a question about one directory may take.
_STAT_S: Final = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MadeClones:
    """The clones that the agents of one base directory made."""

    #: Holds a file for each of them.
    notes: Path

    def remember(self, directory: Path, repository: str) -> None:
        """Note that the agent made a clone of a repository in a directory.

        Raises:
            OSError: it cannot be noted.
        """
        found = directory.stat()
        known = self._read(directory)
        if (known.get("repository"), known.get("inode")) == (repository, found.st_ino):
            return
        self.notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        values = {
            "path": str(directory),
            "repository": repository,
            "inode": found.st_ino,
            "identity": _identity(directory),
        }
        atomic_file.write(self._file(directory), json.dumps(values).encode())

    def has_made(self, directory: Path, repository: str) -> bool:
        """Return whether this very directory is a clone that the agent made of a repository."""
        known = self._read(directory)
        if known.get("repository") != repository or not file_trees.is_directory(directory):
            return False
        identity = _identity(directory)
        return identity is not None and known.get("identity") == identity

    def _file(self, directory: Path) -> Path:
        name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
        return self.notes / f"{name}.json"

    def _read(self, directory: Path) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._file(directory).read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return found
        return {}


def _identity(directory: Path) -> str | None:
    """Return what tells a directory from all others, None where the system does not tell it."""
    try:
        # Python's own stat does not know the birth.
        found = OWN.run(
            ["stat", "--format=%d %i %W %w", "--", str(directory)],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            timeout=_STAT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = found.stdout.decode(errors="replace").strip()
    is_known = found.returncode == 0 and not text.endswith(("-", "?"))
    return text if is_known else None
