"""The children of this process: those that it started, and those that it inherited.

A process whose parent has ended becomes the child of the nearest sub-reaper above it. So when a
script has killed its shim, or a test its supervisor, what they looked after comes here, whatever
it did to its environment, session or working directory. A list of what this process itself started
tells the two apart: all of keruta starts its programs by ``spawn`` (or says so by
``started``), and what is not on the list was left behind.

That holds only for a process that had no children when it began, and is not the first one of its
container: to those come also processes that others have started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from keruta_agent.core.process_tree import prctl, proc

#: Seconds between looks at processes that are to end.
LOOK_S: Final = 0.02
#: Seconds after SIGKILL in which a process is waited for: one in the kernel, at a disk that does
#: not answer, ends when the kernel releases it, and nobody can hasten that.
KILL_TIMEOUT_S: Final = 30.0


class Children:
    """What this process has started and not collected yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: Start time of each, by its number.
        self._own: dict[int, int] = {}
        self._adopts = False

    def adopt(self) -> None:
        """Become the parent of whatever loses its own below here.

        An image that replaces another one of this process goes on with it.
        """
        if prctl.is_subreaper():
            self._adopts = True
            return
        if os.getpid() != 1 and not proc.children(os.getpid()):
            prctl.become_subreaper()
            self._adopts = True

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Keep what is started inside the block from being taken for left behind."""
        with self._lock:
            yield

    def started(self, pid: int) -> None:
        """Put a child on the list; call it inside ``starting``."""
        found = proc.process_state(pid)
        if found is not None:
            # A new mapping: others read it without the lock.
            self._own = {
                **{
                    number: start_time
                    for number, start_time in self._own.items()
                    if (state := proc.process_state(number)) is not None and state[1] == start_time
                },
                pid: found[1],
            }

    def spawn(self, command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program, with the options of ``subprocess.Popen``.

        Raises:
            OSError: it cannot be started.
        """
        with self.starting():
            process = subprocess.Popen(command, **options)
            self.started(process.pid)
        return process

    def run(
        self, command: Sequence[str], *, timeout: float, **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, with nothing to read, and return what it wrote.

        Raises:
            OSError: it cannot be started.
            TimeoutExpired: it took longer; it is ended.
        """
        process = self.spawn(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )
        with process:
            try:
                output, complaints = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, complaints)

    def end_orphans(self, grace_s: float) -> list[int]:
        """End what was left behind by programs that have ended; return which were alive.

        Returns when all of it is gone, or cannot be ended.
        """
        found: list[int] = []
        began = time.monotonic()
        while left := self._orphans():
            found += [pid for pid in left if pid not in found]
            passed_s = time.monotonic() - began
            if passed_s > grace_s + KILL_TIMEOUT_S:
                break
            signal_all(left, signal.SIGTERM if passed_s < grace_s else signal.SIGKILL)
            time.sleep(LOOK_S)
        return found

    def end_orphans_when_idle(self) -> None:
        """Do the same where nothing runs that may use them: a git, by another's connection."""
        if not any(self._is_running(pid, start_time) for pid, start_time in self._own.items()):
            self.end_orphans(0.0)

    @staticmethod
    def _is_running(pid: int, start_time: int) -> bool:
        state = proc.process_state(pid)
        return state is not None and state[1] == start_time and state[0] not in "ZX"

    def _orphans(self) -> list[int]:
        """Return the living processes that were left behind, each with all below it."""
        if not self._adopts:
            return []
        with self._lock:
            inherited = [
                pid
                for pid, start_time in proc.children(os.getpid())
                if self._own.get(pid) != start_time
            ]
            for pid in inherited:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        return [
            each
            for pid in inherited
            if (state := proc.process_state(pid)) is not None and state[0] not in "ZX"
            for each in (pid, *proc.descendants(pid))
        ]


#: Those of this very process.
OWN: Final = Children()


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    """Send processes a signal; one that is asked to end is woken, too, if it was frozen."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            if number == signal.SIGTERM:
                os.kill(pid, signal.SIGCONT)
