"""The wait for the end of any process, or for a wake-up.

The shim of an adopted run is not a child, so waiting goes through a pidfd, which works for any
process and wakes at the very moment of its end.
"""

from __future__ import annotations

import os
import select

from keruta_agent.agent.run.directory import ProcessId

#: Seconds between looks at a process where the kernel has no pidfd (Linux before 5.3).
LOOK_INTERVAL_S = 0.05


class WakeEvent:
    """A wake-up for the follower, from any thread; one that comes early is kept."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def wake(self) -> None:
        """Wake the waiter."""
        os.eventfd_write(self._descriptor, 1)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._descriptor

    def clear(self) -> bool:
        """Forget all wake-ups; return whether there was one."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            return False
        return True


class ProcessWatch:
    """The watch over one process until it ends."""

    def __init__(self, process: ProcessId, wake_event: WakeEvent) -> None:
        self._process = process
        self._wake_event = wake_event
        self._poll = select.poll()
        self._poll.register(wake_event.fileno(), select.POLLIN)
        self._pidfd = _open_pidfd(process)
        if self._pidfd is not None:
            self._poll.register(self._pidfd, select.POLLIN)

    def close(self) -> None:
        """Close the handle of the process."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def has_ended(self) -> bool:
        """Return whether the process is gone."""
        return not self._process.is_alive()

    def wait(self, timeout_s: float) -> None:
        """Return when the process has ended, at a wake-up, or after the time."""
        if self._pidfd is None:
            timeout_s = min(timeout_s, LOOK_INTERVAL_S)
        self._poll.poll(timeout_s * 1000)
        self._wake_event.clear()


def _open_pidfd(process: ProcessId) -> int | None:
    try:
        descriptor = os.pidfd_open(process.pid)
    except (ProcessLookupError, AttributeError, OSError):
        return None
    if process.is_alive():
        return descriptor
    os.close(descriptor)  # the number belongs to somebody else by now
    return None
