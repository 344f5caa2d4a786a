"""Signals of the process, received without a handler that does anything.

A handler written in Python runs between two instructions of the main thread, wherever that is: also
while it holds the lock that the handler would take, and then neither ever goes on. Here the
interpreter's own handler writes the signal's number to a pipe (``signal.set_wakeup_fd``), and
the main loop reads it when it is ready to.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import stat
from collections.abc import Iterator
from types import FrameType
from typing import Final

from keruta_agent.core.process_tree.dispositions import is_ignored

logger = logging.getLogger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
ALL_SIGNALS: Final = (*STOP_SIGNALS, signal.SIGHUP, signal.SIGUSR1)
#: The pipe with requests that an image did not heed, for the image that replaces it.
HANDED_OVER: Final = "KERUTA_SIGNALS_FD"
_READ_BYTES: Final = 4096


class StopRequests:
    """How often the process was asked to stop, and whether to replace itself.

    The first stop finishes what runs, the second one stops it, the third one leaves. All methods
    are for the main thread.
    """

    def __init__(self, *, hang_up_stops: bool = False) -> None:
        """Take SIGHUP for a request to stop with ``hang_up_stops``, not to replace the process."""
        self.count = 0
        self.replace = False
        #: Whether the log file is to be opened anew.
        self.reopen_log = False
        self._hang_up_stops = hang_up_stops
        self._is_new = False
        self._pipe: tuple[int, int] | None = None
        self._poll = select.poll()

    def stop(self) -> None:
        """Count one request to stop."""
        self._note(signal.SIGTERM)

    def reload(self) -> None:
        """Note that the process is to replace itself."""
        self._note(signal.SIGHUP)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for a request; return whether one has come since the last call."""
        if self._is_new:
            timeout_s = 0
        self._poll.poll(None if timeout_s is None else timeout_s * 1000)
        self._read()
        is_new, self._is_new = self._is_new, False
        return is_new

    @property
    def wants_replacement(self) -> bool:
        """Whether the process is to replace itself: a request to stop goes before that."""
        return self.replace and not self.count

    def hand_over(self) -> None:
        """Keep the signals that come from now on for the image that replaces this one.

        They stay pending until it listens (``heard``); until then each of them would end it. Other
        threads take signals up to the last moment: what they write to the pipe goes with it, and so
        does what came too late to be heeded.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, ALL_SIGNALS)
        if self._pipe is None:
            return
        reading, writing = self._pipe
        with contextlib.suppress(BlockingIOError):  # full of requests
            os.write(writing, bytes((signal.SIGTERM,)) * self.count)
        os.set_inheritable(reading, True)
        os.environ[HANDED_OVER] = str(reading)

    @contextlib.contextmanager
    def heard(self) -> Iterator[StopRequests]:
        """Listen to the signals inside the block."""
        with _pipe() as pipe:
            self._pipe = pipe
            self._poll.register(pipe[0], select.POLLIN)
            self._read_handed_over()
            try:
                with self._listening(pipe[1]):
                    yield self
            finally:
                self._read()
                self._poll.unregister(pipe[0])
                self._pipe = None

    @contextlib.contextmanager
    def _listening(self, writing: int) -> Iterator[None]:
        numbers = list(ALL_SIGNALS)
        # nohup ignores SIGHUP for us, and means it: the terminal's end is no wish to be replaced.
        if is_ignored(signal.SIGHUP):
            numbers.remove(signal.SIGHUP)
        descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        before = {number: signal.signal(number, _do_nothing) for number in numbers}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL_SIGNALS)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(descriptor)

    def _read(self) -> None:
        if self._pipe is not None:
            self._note_all(self._pipe[0])

    def _read_handed_over(self) -> None:
        number = os.environ.pop(HANDED_OVER, "")
        if not number.isdigit():
            return
        descriptor = int(number)
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.set_blocking(descriptor, False)
                self._note_all(descriptor)
            os.close(descriptor)
        except OSError as exc:
            logger.debug("no signals were handed over: %s", exc, extra={"action": "unheard"})

    def _note_all(self, descriptor: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while numbers := os.read(descriptor, _READ_BYTES):
                for number in numbers:
                    if not is_ignored(number):  # its handler, too, writes to the pipe
                        self._note(number)

    def _note(self, number: int) -> None:
        if number in STOP_SIGNALS or (number == signal.SIGHUP and self._hang_up_stops):
            self.count += 1
        elif number == signal.SIGHUP:
            self.replace = True
        elif number == signal.SIGUSR1:
            self.reopen_log = True
        else:  # another signal for which somebody has set a handler
            return
        self._is_new = True


class StopFlag:
    """What a signal handler may set: a plain attribute, where ``threading.Event`` has a lock."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self, number: int, frame: FrameType | None) -> None:
        """Set the flag; a signal handler."""
        self._is_set = True

    def is_set(self) -> bool:
        """Return whether the signal has come."""
        return self._is_set


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Make the interpreter write the signal's number to the pipe, instead of ending."""


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield reading, writing
    finally:
        os.close(writing)
        os.close(reading)
