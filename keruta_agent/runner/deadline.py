"""The deadline of a run: its time limit, its lease, and a request to stop."""

from __future__ import annotations

import time
from typing import Protocol

from keruta_agent.core import errors


class StoppedError(errors.RunnerError):
    """The run was stopped before its end."""


class Stopping(Protocol):
    """The flag that stops the run; signal handlers set it, so it may have no lock."""

    def is_set(self) -> bool:
        """Return whether the run is to stop."""


class Deadline:
    """When a run has to end. Everything that takes long checks it, and ends at once."""

    def __init__(self, limit_s: float, stopping: Stopping | None = None) -> None:
        """Begin a run of at most ``limit_s`` seconds, which the flag ``stopping`` can end."""
        self.limit_s = limit_s
        self._hindrance: str | None = None
        self._lease_end: float | None = None
        self._began = time.monotonic()
        self._stopping = stopping

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    @property
    def left_s(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self.limit_s - self.elapsed_s)

    def stop(self, reason: str) -> None:
        """End the run: it must not go on, for this reason."""
        self._hindrance = reason

    def lasts_until(self, end: float | None) -> None:
        """Set when the lease of the workspace ends, by the monotonic clock; None: never."""
        self._lease_end = end

    def stop_reason(self) -> str | None:
        """Return why the run has to end, None when it may go on."""
        end = self._lease_end
        if self._hindrance is None and end is not None and time.monotonic() > end:
            self.stop("The slot's lease ran out: this run, or the pool, stood still for too long")
        if self._hindrance is not None:
            return self._hindrance
        if self._is_stopped:
            return "The run was stopped"
        if self.left_s <= 0:
            return f"Task execution timeout: it took longer than {self.limit_s:g} s"
        return None

    @property
    def _is_stopped(self) -> bool:
        return self._stopping is not None and self._stopping.is_set()

    def check(self) -> None:
        """Return when the run may go on.

        Raises:
            StoppedError: somebody wants it stopped.
            TimeoutError: its time is over.
        """
        reason = self.stop_reason()
        if reason is None:
            return
        if self._hindrance is not None or self._is_stopped:
            raise StoppedError(reason)
        raise errors.TimeoutError(
            reason, advice="Give the task a larger timeout_seconds, or make it smaller"
        )
