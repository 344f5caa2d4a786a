"""What a process asks of the kernel about itself and its children (prctl(2)).

It calls the C library through ``_ctypes`` itself: all of ctypes takes ten times as long to import,
and every script would wait for it.
"""

from __future__ import annotations

import _ctypes

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
_PRCTL = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]


class _Int(_ctypes._SimpleCData):  # type: ignore[type-arg]  # it takes none at run time
    """An ``int`` of C."""

    _type_ = "i"


def _prctl(option: int, argument: object) -> None:
    _ctypes.call_function(_PRCTL, (option, argument, 0, 0, 0))


def become_subreaper() -> None:
    """Become the parent of every process below this one whose own parent ends.

    It survives an exec, and is not inherited.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def is_subreaper() -> bool:
    """Return whether this process has become a sub-reaper."""
    answer = _Int(0)
    _prctl(PR_GET_CHILD_SUBREAPER, _ctypes.byref(answer))
    return bool(answer.value)


def deny_inspection() -> None:
    """Keep other processes of the same user from reading this one's memory or tracing it.

    Root may all the same, and a program that this process executes is its own again. What belongs
    to this process below /proc is root's from now on: open what is needed there before.
    """
    _prctl(PR_SET_DUMPABLE, 0)


def end_with_parent(number: int) -> None:
    """Make the kernel send this process a signal when its parent ends."""
    _prctl(PR_SET_PDEATHSIG, number)
