"""The choice of the directory for scripts' artifacts, so that no other agent collects them.

The default is one directory for the machine. What is new in it when a run ends is taken for that
run's, so two agents must not share it: the first one holds it by a lock on a hidden file, the other
one uses a directory of its own. The file also names the run that writes there, which may go on
after its agent was killed, when the kernel has freed the lock.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from pathlib import Path
from typing import Final

from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.files import SMALL_BYTES, from_json

logger = logging.getLogger(__name__)

#: Hidden, so that it is no artifact.
OWNER_NAME: Final = ".keruta-agent"


class ArtifactsDirectories:
    """The artifacts directories that this agent holds. Used by the worker's thread alone."""

    def __init__(self, agent_id: str, base_dir: Path) -> None:
        self._agent_id = agent_id
        self._own = base_dir / "doc"
        #: Descriptors with the locks, by directory: those of the settings and the workspace.
        self._held: dict[Path, int] = {}
        self._said_of: Path | None = None
        #: Where the directories led when they were used first.
        self._places: dict[Path, Path] = {}

    def choose(self, configured: Path, working_directory: Path, run: RunDirectory) -> Path:
        """Return the directory for a run: the first one that is writable and no other agent's.

        The configured one, else the same below the working directory, else the agent's own.
        """
        in_use = None
        for candidate in (configured, working_directory / ".keruta" / "doc", self._own):
            if not _is_usable(candidate) or not self._is_in_its_place(candidate):
                continue
            if self._hold(candidate, run):
                if in_use is not None:
                    self._say(in_use, candidate)
                return candidate
            in_use = in_use or candidate
        return configured

    def _is_in_its_place(self, directory: Path) -> bool:
        """Return whether a directory leads where it did; else the next scripts would write there.

        A warning is logged once when it does not.
        """
        leads_to = directory.resolve()
        place = self._places.setdefault(directory, leads_to)
        if place == leads_to:
            return True
        if self._said_of != directory:
            self._said_of = directory
            logger.warning(
                "does not use the artifacts directory %s: it was replaced by a link to %s; remove "
                "the link, or restart the agent if you made it",
                directory,
                leads_to,
                extra={"action": "artifacts_directory_replaced"},
            )
        return False

    def _say(self, in_use: Path, chosen: Path) -> None:
        if self._said_of == in_use:
            return
        self._said_of = in_use
        logger.warning(
            "another agent uses the artifacts directory %s: scripts of this one get %s",
            in_use,
            chosen,
            extra={"action": "artifacts_directory_shared"},
        )

    def _hold(self, directory: Path, run: RunDirectory) -> bool:
        """Lock a directory for a run; return whether it is this agent's."""
        try:
            descriptor = self._locked(directory)
            if descriptor is None or self._is_used_by_another(descriptor):
                return False
            mark = json.dumps({"agent": self._agent_id, "run": str(run.path)}).encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, mark, 0)
        except OSError as exc:
            logger.debug("cannot hold %s: %s", directory, exc)
            return False
        return True

    def _locked(self, directory: Path) -> int | None:
        """Return the locked file of a directory, None when another agent has the lock."""
        path = directory / OWNER_NAME
        known = self._held.get(directory)
        if known is not None:
            if _is_still(path, known):
                return known
            os.close(self._held.pop(directory))  # a script removed it
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            # Of the process, not of the descriptor: no child inherits it, and it holds on NFS.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        self._held[directory] = descriptor
        return descriptor if _is_still(path, descriptor) else None

    def _is_used_by_another(self, descriptor: int) -> bool:
        """Return whether a run of another agent, itself gone, still writes there."""
        try:
            mark = from_json(os.pread(descriptor, SMALL_BYTES, 0))
            agent_id, run = str(mark["agent"]), Path(mark["run"])
        except (ValueError, TypeError, LookupError):  # new, or a script wrote to it
            return False
        shim = None if agent_id == self._agent_id else RunDirectory(run).read_identity()
        return shim is not None and shim.is_alive()


def _is_usable(directory: Path) -> bool:
    """Return whether a directory, made if need be, can be written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether a name still is the regular file that was opened by it."""
    opened = os.fstat(descriptor)
    try:
        return stat.S_ISREG(opened.st_mode) and os.path.samestat(opened, path.lstat())
    except FileNotFoundError:
        return False
