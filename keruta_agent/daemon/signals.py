"""SIGTERM and SIGINT, counted: the first finishes, the second stops, the third leaves."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequests:
    """How often the process was asked to stop."""

    def __init__(self) -> None:
        self.count = 0
        #: Set at each request; the main loop waits on it and clears it.
        self.arrived = threading.Event()

    def add(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        """Counts one request; this is the signal handler."""
        self.count += 1
        self.arrived.set()

    @contextlib.contextmanager
    def heard(self) -> Iterator[StopRequests]:
        """Listens to the signals inside the block."""
        before = {number: signal.signal(number, self.add) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
