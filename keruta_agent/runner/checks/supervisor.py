"""The supervisor of one command of a run: when the command ends, so does its process tree.

A program of its own, started as ``python -I -S supervisor.py PARENT REPORT GRACE COMMAND...``. It
is a child sub-reaper, so that processes which left the command's session and environment stay
below it. The kernel signals it when the runner dies, by ``kill -9`` too: no test goes on in a slot
that is lent anew. It writes the command's wait status to the descriptor REPORT, which the command
never has: a test can kill the supervisor, so its own exit code proves nothing.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys


def main(parent: int, report: int, grace_s: float, command: list[str]) -> int:
    """Run the command, report its wait status, and return the exit code."""
    # -I and -S keep the package off the path.
    sys.path.append(os.path.abspath(__file__).rpartition("/keruta_agent/")[0])
    from keruta_agent.core.process_tree import prctl
    from keruta_agent.core.process_tree.watch import PYTHONS, Watch, forget_inherited_signals

    os.set_inheritable(report, False)
    forget_inherited_signals()
    prctl.deny_inspection()
    prctl.become_subreaper()
    prctl.end_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        return 1  # it died before it could be watched
    pid = os.posix_spawn(
        command[0],
        command,
        os.environb,
        setsid=True,
        setsigmask=(),
        setsigdef=PYTHONS,  # a command expects `yes | head` to end
    )
    watch = Watch(pid, grace_s)
    watch.run()
    if watch.status is not None:
        os.write(report, b"%d\n" % watch.status)
    return 0


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]))
