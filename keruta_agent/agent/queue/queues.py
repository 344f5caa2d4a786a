"""The Huey queues of one agent, on one SQLite file that may be lost.

A file that somebody else wrote can at most wake a worker.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from huey import SqliteHuey
from huey.api import Task
from huey.exceptions import HueyException
from huey.signals import SIGNAL_ERROR

from keruta_agent.agent.store import disk
from keruta_agent.core import errors
from keruta_agent.core.huey_messages import JsonSerializer

logger = logging.getLogger(__name__)

QUEUE_NAME: Final = "queue.db"
WORK: Final = "work"
POLLS: Final = "polls"
#: Seconds before a worker may try again to take a message that it could not take.
FULL_DISK_WAIT_S: Final = 1.0


class TolerantHuey(SqliteHuey):  # type: ignore[misc]
    """A queue that outlives messages that it cannot read: no job is lost, all are in agent.db."""

    #: Makes the message that is taken for one that cannot be read: that may have kept another one
    #: from being queued.
    instead: Callable[[], Task] | None = None

    def announce_failure(self, job_id: int) -> None:
        """Send Huey's failure signal for a job; its message counts as done."""
        self._emit(SIGNAL_ERROR, Task((job_id,)))

    def dequeue(self) -> Any:
        while True:
            try:
                return super().dequeue()
            except HueyException as exc:
                logger.warning(
                    "drops a message from the queue %s that it does not understand: %s",
                    self.name,
                    exc,
                    extra={"action": "message_dropped"},
                )
                if self.instead is not None:
                    return self.instead()
            except sqlite3.OperationalError as exc:
                if not disk.is_unwritable(exc):
                    raise
                # Every writer reports that itself. Here, to take a message is to store that.
                logger.debug("cannot take a message now: %s", exc, extra={"action": "no_room"})
                time.sleep(FULL_DISK_WAIT_S)
                return None


def open_queue(base_dir: Path, name: str) -> TolerantHuey:
    """Open one of the queues; a damaged file is moved aside and replaced.

    Raises:
        AgentStateError: the file cannot be used.
    """
    path = base_dir / QUEUE_NAME
    try:
        return _open(path, name)
    except sqlite3.DatabaseError as exc:
        aside = path.with_name(f"{QUEUE_NAME}.damaged-{time.time_ns()}")
        logger.warning(
            "the queue %s is damaged (%s); it is kept as %s and made anew, no job is lost",
            path,
            str(exc),  # itself, it would keep the damaged file open as long as the log's record
            aside.name,
            extra={"action": "queue_damaged"},
        )
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _open(path, name)
    except (OSError, sqlite3.Error) as exc:
        raise errors.AgentStateError(f"cannot make the queue {path}: {exc}") from exc


def _open(path: Path, name: str) -> TolerantHuey:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    huey = TolerantHuey(
        name,
        filename=str(path),
        strict_fifo=True,
        # What a power cut takes from this file, the next start puts back from agent.db.
        fsync=False,
        results=False,
        serializer=JsonSerializer(),
        # Huey's own default keeps 8 MB of pages a connection; the queue holds a few ids.
        cache_mb=1,
    )
    # Of every queue in the file: each start fills it, and older versions had queues
    # that nobody reads any more.
    for table in ("task", "schedule"):
        huey.storage.sql(f"DELETE FROM {table}", commit=True)  # noqa: S608 - one of two names
    return huey
