"""Waits on conditions, so that no test sleeps for a time that a busy machine could miss."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Seconds between looks: most of them cost a request, or more.
LOOK_S = 0.05

_Found = TypeVar("_Found")


def wait_until(condition: Callable[[], _Found], what: str, timeout_s: float = 30.0) -> _Found:
    """Returns the condition's first true value.

    Raises:
        AssertionError: it did not become true in time; the text says what was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(LOOK_S)
    return found
