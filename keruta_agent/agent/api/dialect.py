"""Words that differ between servers and are settled by the first answer.

We call a running task PROCESSING; the known servers call it IN_PROGRESS and refuse the other word.
"""

from __future__ import annotations

import threading

from keruta_agent.core import errors
from keruta_agent.core.model import TaskStatus

RUNNING_NAMES = ("PROCESSING", "IN_PROGRESS")


class RunningName:
    """The word for a running task that one server takes; safe for several threads."""

    def __init__(self, configured: str) -> None:
        name = configured.strip().upper()
        if name not in RUNNING_NAMES:
            raise errors.SettingsError(
                f"The processing status {configured!r} is unknown",
                advice=f"Use one of: {', '.join(RUNNING_NAMES)}",
            )
        self._lock = threading.Lock()
        self._name = name
        self._is_settled = False

    @property
    def name(self) -> str:
        """The word to send first."""
        with self._lock:
            return self._name

    @property
    def alternative(self) -> str | None:
        """The word to try when the first one is refused; None once a word was accepted."""
        with self._lock:
            if self._is_settled:
                return None
            return next(name for name in RUNNING_NAMES if name != self._name)

    def settle(self, name: str) -> None:
        """Remember the word that the server accepted."""
        with self._lock:
            self._name = name
            self._is_settled = True

    def of(self, status: TaskStatus) -> str:
        """Return the wire name of a state."""
        return self.name if status is TaskStatus.PROCESSING else status.value
