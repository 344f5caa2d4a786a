"""The daemon's signals, counted: the first stop finishes, the second stops, the third leaves."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ALL_SIGNALS = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1)


class StopRequests:
    """How often the process was asked to stop, and whether to replace itself."""

    def __init__(self) -> None:
        self.count = 0
        self.replace = False
        #: Whether the log file is to be opened anew.
        self.reopen_log = False
        #: Set at each request; the main loop waits on it and clears it.
        self.arrived = threading.Event()

    def stop(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        """Counts one request to stop; a signal handler."""
        self.count += 1
        self.arrived.set()

    def reload(self, number: int = signal.SIGHUP, frame: FrameType | None = None) -> None:
        """Notes that the process is to replace itself; a signal handler."""
        self.replace = True
        self.arrived.set()

    def rotate(self, number: int = signal.SIGUSR1, frame: FrameType | None = None) -> None:
        """Notes that somebody moved the log file away; a signal handler."""
        self.reopen_log = True
        self.arrived.set()

    @property
    def wants_replacement(self) -> bool:
        """Whether the process is to replace itself: a request to stop goes before that."""
        return self.replace and not self.count

    def hand_over(self) -> None:
        """Keeps the signals that come from now on for the image that replaces this one.

        They wait until it listens (``heard``); until then each of them would end it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
        if self.count:
            signal.raise_signal(signal.SIGTERM)

    @contextlib.contextmanager
    def heard(self) -> Iterator[StopRequests]:
        """Listens to the signals inside the block."""
        handlers = {**dict.fromkeys(STOP_SIGNALS, self.stop), signal.SIGUSR1: self.rotate}
        # nohup ignores SIGHUP for us, and means it: the terminal's end is no wish to be replaced.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handlers[signal.SIGHUP] = self.reload
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL_SIGNALS)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
