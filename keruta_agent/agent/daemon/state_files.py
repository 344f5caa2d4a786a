"""The watch over the files of the base directory that an agent cannot work without.

A daemon whose database was removed writes where nobody reads, and without its socket it hears no
command. It cannot put the old files back under their names, but a new image of it makes new ones
(daemon/supervisor.py), while the script runs on.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from keruta_agent.agent.daemon.lock import LOCK_NAME
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.remembered import identity
from keruta_agent.core import errors

logger = logging.getLogger(__name__)


class StateFiles:
    """The database, lock, socket and base directory of an agent, as they are now."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._base_dir = agent.settings.base_dir
        paths = (agent.records.database.path, self._base_dir / LOCK_NAME, agent.socket_path)
        self._known = {path: _identity(path) for path in paths}
        self._base = _identity(self._base_dir)

    def base_was_removed(self) -> bool:
        """Return whether the base directory was removed or replaced."""
        return _identity(self._base_dir) != self._base

    def check_base(self) -> None:
        """Check that the base directory is there: a daemon that ends without it has failed.

        Raises:
            AgentStateError: it was removed or replaced.
        """
        if self.base_was_removed():
            raise errors.AgentStateError(
                f"the base directory {self._base_dir} was removed while the agent worked in it"
            )

    def removed(self) -> Sequence[Path]:
        """Return the files that were removed or replaced, and log them."""
        removed = [path for path, known in self._known.items() if _identity(path) != known]
        for path in removed:
            logger.error(
                "%s was removed or replaced while the agent uses it: starts itself anew",
                path,
                extra={"action": "file_removed"},
            )
        return removed

    def restore(self, removed: Sequence[Path]) -> None:
        """Write a removed database or id again; the new image makes all else."""
        self._restore_id()
        path = self._agent.records.database.path
        if path not in removed or path.exists():  # a replacement is what somebody wants
            return
        try:
            self._agent.records.database.copy_to(path)
        except (OSError, sqlite3.Error) as exc:
            logger.error(
                "cannot write %s again, begins with an empty one: %s",
                path,
                exc,
                extra={"action": "file_removed"},
            )

    def _restore_id(self) -> None:
        """Write a removed id again: with another one the agent would lose its claimed tasks."""
        if (self._base_dir / identity.ID_NAME).exists():
            return
        try:
            identity.keep(self._base_dir, self._agent.ownership.identity.id)
        except OSError as exc:
            logger.error(
                "cannot write the agent's id again: %s", exc, extra={"action": "file_removed"}
            )


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None
