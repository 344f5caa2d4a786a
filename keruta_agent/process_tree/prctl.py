"""What a process asks of the kernel about itself and its children (prctl(2))."""

from __future__ import annotations

import ctypes

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
#: Loaded here, not after a fork: the child must do as little as it can.
_LIBC = ctypes.CDLL(None)


def become_subreaper() -> None:
    """Become the parent of every process below this one whose own parent ends.

    It survives an exec, and is not inherited.
    """
    _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def is_subreaper() -> bool:
    """Return whether this process has become a sub-reaper."""
    answer = ctypes.c_int(0)
    _LIBC.prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return bool(answer.value)


def deny_inspection() -> None:
    """Keep other processes of the same user from reading this one's memory or tracing it.

    Root may all the same, and a program that this process executes is its own again. What belongs
    to this process below /proc is root's from now on: open what is needed there before.
    """
    _LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    _LIBC.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
