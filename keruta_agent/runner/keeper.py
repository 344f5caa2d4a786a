"""Starts one command of a run, and ends with it whatever the command has started.

A program of its own, started as ``python -I -S keeper.py PARENT GRACE COMMAND...``. It is a child
sub-reaper, so that also what has left the command's session and environment stays below it; and
it is told when the runner dies, by ``kill -9`` too: no test goes on in a slot that is lent anew.
It ends as the command has ended.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(parent: int, grace_s: float, command: list[str]) -> int:
    """Runs the command and returns its wait status."""
    # -I and -S leave our package out of reach.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    import ctypes

    from keruta_agent.runs.shim import WATCHED, Watch

    class Quiet(Watch):
        """Notes nothing: the working directory is the task's."""

        def note(self, number: int, pids: list[int]) -> None:
            return

    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return int(signal.SIGTERM)  # it died before it could be watched
    pid = os.posix_spawn(
        command[0],
        command,
        os.environb,
        setsid=True,
        setsigmask=(),
        # Python ignores these two; a command expects `yes | head` to end.
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )
    watch = Quiet(pid, grace_s, None, None)
    watch.run()
    return int(watch.status or 0)


def end_like(status: int) -> None:
    """Ends this process as another one has ended."""
    if not os.WIFSIGNALED(status):
        os._exit(os.WEXITSTATUS(status))
    import resource

    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it left one, if one was wanted
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    end_like(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
