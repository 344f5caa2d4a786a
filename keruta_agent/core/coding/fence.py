"""The fence of an attempt at a coding task: whether this runner may still push.

A worker that starts a runner keeps the other end of a connection: a socket pair, or, where the
runner is in a container, a socket in a directory of it. A runner whose worker is gone ends; one
whose attempt has been given to somebody else hears so before it pushes.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, MutableMapping
from typing import Final

from keruta_agent.core import errors

#: Number of the descriptor that leads to the worker.
VARIABLE: Final = "KERUTA_FENCE_FD"
#: Path of the socket that leads to the worker, where no descriptor can.
SOCKET_VARIABLE: Final = "KERUTA_FENCE_SOCKET"
ASK: Final = b"push?\n"
YES: Final = b"yes\n"
NO: Final = b"no\n"
#: Seconds that a worker may take: its database may be away for a moment.
ANSWER_S: Final = 60.0


class Fence:
    """The question to the worker whether this attempt still holds."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(ANSWER_S)
        self._connection = connection

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> Fence | None:
        """Return the fence that a worker has set, and hide it from what is started from here.

        Raises:
            AttemptLostError: nobody listens at the socket any more.
        """
        number = environment.pop(VARIABLE, "")
        path = environment.pop(SOCKET_VARIABLE, "")
        if number.isdecimal():
            os.set_inheritable(int(number), False)
            return cls(socket.socket(fileno=int(number)))
        if not path:
            return None
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError as exc:
            connection.close()
            raise errors.AttemptLostError(
                f"The worker of this attempt cannot be reached at {path}: {exc}",
                advice="Nothing was done; the pool tries the task again",
            ) from exc
        return cls(connection)

    def watch(self, is_gone: Callable[[], None]) -> None:
        """Call ``is_gone`` when the worker has gone, also if that was before."""
        threading.Thread(target=self._watch, args=(is_gone,), name="fence", daemon=True).start()

    def _watch(self, is_gone: Callable[[], None]) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLHUP | select.POLLRDHUP)
        poll.poll()
        is_gone()

    def check(self) -> None:
        """Ask whether this attempt may push.

        Raises:
            AttemptLostError: it may not, or nobody answers.
        """
        try:
            self._connection.sendall(ASK)
            answer = self._connection.recv(len(YES))
        except OSError as exc:
            raise errors.AttemptLostError(
                f"The worker does not say whether this attempt still holds: {exc}",
                advice="Nothing was pushed; the pool tries the task again",
            ) from exc
        if answer != YES:
            raise errors.AttemptLostError(
                "Another attempt at this task has begun, or it was cancelled",
                advice="Nothing was pushed; see the later attempt",
            )
