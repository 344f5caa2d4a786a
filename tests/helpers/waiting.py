"""Wait on conditions, so that no test sleeps for a time that a busy machine could miss."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

#: Seconds between looks: at first, and at most; most of them cost a request, or more, and all of
#: them together a tenth of the suite's time.
FIRST_LOOK_S = 0.02
RAREST_LOOK_S = 0.2
#: Looks become rarer, so that what is waited for is seen when it has taken this much longer.
_LATER = 1 / 4

_Found = TypeVar("_Found")


def wait_until(condition: Callable[[], _Found], what: str, timeout_s: float = 30.0) -> _Found:
    """Return the condition's first true value.

    Raises:
        AssertionError: it did not become true in time; the text says what was waited for.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        if waited >= timeout_s:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(min(max(FIRST_LOOK_S, waited * _LATER), RAREST_LOOK_S))
    return found
