"""The watch over a script or a command and everything that it started.

Used by the processes that supervise one: the shim, and the Agent Runner's supervisor. They are
child sub-reapers, so that whatever is left behind becomes their child.

Like the shim it imports next to nothing.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import time

from keruta_agent.core.process_tree.proc import descendants

KILL_INTERVAL_S = 0.05
#: Whoever answers the script has nothing more to say.
END_OF_INPUT = signal.SIGUSR1
#: Python ignores these two itself.
PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)
WATCHED = (signal.SIGCHLD, signal.SIGTERM, END_OF_INPUT)


def forget_inherited_signals() -> None:
    """Undo what a parent ignored or blocked; block what is waited for here.

    With SIGCHLD ignored the kernel would throw away how the script ends.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN and number not in PYTHONS:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, WATCHED)


class Watch:
    """Wait for a program and everything that it started."""

    def __init__(self, pid: int, grace_s: float) -> None:
        self.pid = pid
        self.grace_s = grace_s
        #: Wait status of the script, None while it runs.
        self.status: int | None = None
        self.stopped = False
        self.swept = 0
        #: Monotonic time from which on SIGKILL is used, None while nothing is being stopped.
        self.deadline: float | None = None

    def run(self) -> None:
        while self.reap():
            if self.status is not None and self.deadline is None:
                self.swept = self.stop()
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.signal_all(signal.SIGKILL)
            received = signal.sigtimedwait(WATCHED, self.seconds_until_due())
            if received is not None and received.si_signo == END_OF_INPUT:
                self.end_input()
            if received is not None and received.si_signo == signal.SIGTERM and not self.stopped:
                self.reap()  # a script that ended just before was not stopped
                self.stopped = self.status is None
                self.stop()

    def end_input(self) -> None:
        """Close the program's input; here it has none."""

    def seconds_until_due(self) -> float:
        """Return the seconds until something is due even if no signal comes."""
        if self.deadline is None:
            return 3600.0
        return max(self.deadline - time.monotonic(), KILL_INTERVAL_S)

    def stop(self) -> int:
        if self.deadline is None:
            self.deadline = time.monotonic() + self.grace_s
        return self.signal_all(signal.SIGTERM)

    def reap(self) -> bool:
        """Collect the children that have ended; return whether any is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = status

    def signal_all(self, number: int) -> int:
        """Send a signal to every process below this one; return how many there are."""
        below = descendants(os.getpid())
        if below:
            self.note(number, below)
        for pid in below:
            try:
                os.kill(pid, number)
                if number == signal.SIGTERM:
                    os.kill(pid, signal.SIGCONT)  # a stopped process would never see it
            except (ProcessLookupError, PermissionError):
                continue
        return len(below)

    def note(self, number: int, pids: list[int]) -> None:
        """Hear which processes are sent a signal."""
