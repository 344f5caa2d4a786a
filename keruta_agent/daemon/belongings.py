"""Notices when the files that make this process the agent are taken away under it.

A daemon that goes on with a removed database writes where nobody reads, and one without its
socket cannot be told anything. It cannot get back what others see by these names, but a new image
of it makes them anew (daemon/supervisor.py), while the script runs on.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from keruta_agent import errors
from keruta_agent.daemon.lock import LOCK_NAME
from keruta_agent.journey.agent import Agent
from keruta_agent.records import identity

logger = logging.getLogger(__name__)


class Belongings:
    """What of an agent must stay where it is, as it was when this was made."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._base_dir = agent.settings.base_dir
        paths = (agent.records.database.path, self._base_dir / LOCK_NAME, agent.socket_path)
        self._known = {path: _identity(path) for path in paths}
        self._base = _identity(self._base_dir)

    def is_homeless(self) -> bool:
        """Tells whether the whole base directory was taken away."""
        return _identity(self._base_dir) != self._base

    def complain_if_homeless(self) -> None:
        """Ends a daemon whose directory was taken away as one that failed.

        Raises:
            AgentStateError: it was.
        """
        if self.is_homeless():
            raise errors.AgentStateError(
                f"the base directory {self._base_dir} was removed while the agent worked in it"
            )

    def lost(self) -> Sequence[Path]:
        """Returns what was removed or replaced; says so."""
        lost = [path for path, known in self._known.items() if _identity(path) != known]
        for path in lost:
            logger.error(
                "%s was removed or replaced while the agent uses it: starts itself anew",
                path,
                extra={"action": "file_removed"},
            )
        return lost

    def put_back(self, lost: Sequence[Path]) -> None:
        """Writes database and id again where they were removed; the new image makes all else."""
        self._put_back_id()
        path = self._agent.records.database.path
        if path not in lost or path.exists():  # what somebody put there is what they want
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

    def _put_back_id(self) -> None:
        """With another id the agent would lose the tasks that it has claimed."""
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
