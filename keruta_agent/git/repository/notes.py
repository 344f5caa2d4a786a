"""What the agent notes about a clone, inside of its ``.git``: that it made it, and for which tasks.

A directory without these notes belongs to somebody else, and is treated with care.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Final

from keruta_agent.core import atomic_file

NOTES: Final = "keruta"
_INSTALLED: Final = "install.json"
_RECOVERY: Final = "recovery.json"
_CLONE: Final = "clone.json"
_CLONING: Final = "cloning"
_CLONED: Final = "cloned"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notes:
    """The notes about one clone."""

    git_dir: Path

    @property
    def directory(self) -> Path:
        """Where they are."""
        return self.git_dir / NOTES

    def begin_clone(self, identity: str) -> None:
        """Note, before anything else is there, that the agent makes this clone."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(_CLONE, {"state": _CLONING, "repository": identity})

    def finish_clone(self, identity: str) -> None:
        """Note that the clone is whole."""
        self._write(_CLONE, {"state": _CLONED, "repository": identity})

    @property
    def is_ours(self) -> bool:
        """Whether the agent made this clone."""
        return bool(self._clone())

    @property
    def is_whole(self) -> bool:
        """Whether it came to the end of making it."""
        return self._clone().get("state") == _CLONED

    @property
    def identity(self) -> str:
        """Which repository the agent cloned here."""
        return str(self._clone().get("repository", ""))

    @property
    def is_mere_beginning(self) -> bool:
        """Whether an agent died before it could note anything here."""
        if not self.git_dir.is_dir():
            return False
        names = {path.name for path in self.git_dir.iterdir()}
        if names - {NOTES}:
            return False
        left = list(self.directory.iterdir()) if self.directory.is_dir() else []
        return all(path.name.startswith(f"{_CLONE}.") for path in left)

    def note_recovery(self) -> None:
        """Note that this clone takes the place of a broken one, and no task has used it yet."""
        self._write(_RECOVERY, {"at": time.time()})

    def forget_recovery(self) -> None:
        """Note that a task could be prepared here."""
        (self.directory / _RECOVERY).unlink(missing_ok=True)

    def recovered_s(self) -> float | None:
        """Return how long ago a broken clone was replaced by this one; None once it was used."""
        at = self._read(_RECOVERY).get("at")
        return abs(time.time() - at) if isinstance(at, int | float) else None

    def forget_installed(self) -> None:
        """Have the repository's own set-up run again."""
        (self.directory / _INSTALLED).unlink(missing_ok=True)

    def has_installed(self, script: Path) -> bool:
        """Return whether the repository's own set-up was run as it is now."""
        return self._read(_INSTALLED).get("digest") == _digest(script)

    def note_installed(self, script: Path) -> None:
        """Note that the repository's own set-up was run."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self._write(_INSTALLED, {"digest": _digest(script)})

    def _clone(self) -> dict[str, Any]:
        return self._read(_CLONE)

    def _read(self, name: str) -> dict[str, Any]:
        if self.git_dir.is_symlink():  # ours never are: somebody, or a task, put it there
            return {}
        try:
            found = json.loads((self.directory / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, values: dict[str, Any]) -> None:
        # A clone that a power cut has torn must not be taken for a whole one.
        atomic_file.write(self.directory / name, json.dumps(values).encode())


def _digest(script: Path) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest()
