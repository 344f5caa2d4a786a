"""Private channels to child processes, which no other process can open.

A pipe can: whoever may look into /proc/PID/fd of one of its ends opens the other end there, to
read a secret or to write a report of its own. Settings that forbid to trace do not forbid that. A
socket cannot be opened there.
"""

from __future__ import annotations

import socket


def private_pipe() -> tuple[int, int]:
    """Return descriptors of a reading and a writing end; no child inherits them unasked.

    Raises:
        OSError: there are too many open files.
    """
    reading, writing = socket.socketpair()
    reading.shutdown(socket.SHUT_WR)
    return reading.detach(), writing.detach()
