"""A thread for work that comes due, so that nothing else waits for it.

What there is to do stands in the records. A due time is no message that could get lost: whoever
starts the thread asks for the first round, and every round says when the next is due.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable


class DueThread:
    """A thread that does its work whenever it is due. May be asked for before it starts."""

    def __init__(self, name: str, *, niceness: int = 0) -> None:
        """Make the thread; a higher niceness lowers its priority."""
        self.name = name
        self._niceness = niceness
        self._changed = threading.Condition()
        self._due_at = math.inf
        self._is_stopping = False
        self._work: Callable[[], float] | None = None
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], float]) -> None:
        """Begin to work.

        Args:
            work: does what is due, and returns the seconds until more is. It must not raise.
        """
        self._work = work
        self._thread = threading.Thread(target=self._run, args=(work,), name=self.name, daemon=True)
        self._thread.start()

    def due_in(self, seconds: float) -> None:
        """Have the work done in so many seconds at the latest."""
        due_at = time.monotonic() + seconds
        with self._changed:
            if due_at < self._due_at:
                self._due_at = due_at
                self._changed.notify()

    def pause(self, seconds: float) -> None:
        """Delay the work, from within it; a stop ends the pause."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping, seconds)

    def stop(self) -> None:
        """Stop after the current work."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def join(self, timeout_s: float | None) -> None:
        """Wait for the current work, in seconds."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def is_working(self) -> bool:
        """Return whether the thread lives and takes work."""
        return self._thread is not None and self._thread.is_alive() and not self._is_stopping

    def revive(self) -> None:
        """Start the thread again if it died."""
        if self._work is not None and not self._is_stopping and not self.is_working():
            self.due_in(0.0)
            self.start(self._work)

    def _run(self, work: Callable[[], float]) -> None:
        give_way(self._niceness)
        while self._wait_until_due():
            self.due_in(work())

    def _wait_until_due(self) -> bool:
        with self._changed:
            while not self._is_stopping:
                wait_s = self._due_at - time.monotonic()
                if wait_s <= 0:
                    self._due_at = math.inf
                    return True
                self._changed.wait(min(wait_s, threading.TIMEOUT_MAX))
        return False


def give_way(niceness: int) -> None:
    """Raise the niceness of this thread; Linux has one per thread."""
    if niceness:
        thread = threading.get_native_id()
        nicer = os.getpriority(os.PRIO_PROCESS, thread) + niceness
        os.setpriority(os.PRIO_PROCESS, thread, min(nicer, 19))
