"""What this process does at signals by inheritance, undone.

A parent may have left signals ignored or blocked (``nohup``, a shell's ``trap ''``, a supervisor
that ignores SIGCHLD), and both pass through exec. Ignoring SIGCHLD is the worst: the kernel then
throws away how a child ended, and ``subprocess`` takes that for success.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from types import FrameType
from typing import Final

#: Python ignores these two itself, and resets them in what it starts.
_PYTHONS: Final = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
_UNCATCHABLE: Final = frozenset({signal.SIGKILL, signal.SIGSTOP})


def hear_children() -> None:
    """Make the kernel keep the exit statuses of children; call it before anything is started."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def start_children_afresh(*, still_blocked: Iterable[signal.Signals] = ()) -> None:
    """Start children with the default of every signal, and none blocked.

    A signal that this process ignores it goes on ignoring, by a handler that does nothing: an
    exec resets handlers, and keeps what is ignored. Call it in the main thread.
    """
    hear_children()
    for number in signal.valid_signals() - _PYTHONS - _UNCATCHABLE:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, ignored)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals() - set(still_blocked))


def restore_ignored() -> None:
    """Ignore again, also in the image that replaces this one, what was ignored at first."""
    for number in signal.valid_signals() - _UNCATCHABLE:
        if signal.getsignal(number) is ignored:
            signal.signal(number, signal.SIG_IGN)


def is_ignored(number: int) -> bool:
    """Return whether this process was started with a signal ignored."""
    return signal.getsignal(number) in (signal.SIG_IGN, ignored)


def ignored(number: int, frame: FrameType | None) -> None:
    """Do nothing at a signal; a handler."""
