"""Growing delays between attempts, for callers with their own way to wait.

A call that only has to be repeated is repeated by the library ``backoff`` (see ``http/client``).
A thread that must stop at once, a note of when the next attempt is due, a loop that tries something
else in between: these need the delay alone, and take it from here.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Final

#: Growths beyond which every delay has reached its limit; larger powers overflow.
_MOST_GROWTHS: Final = 64


@dataclasses.dataclass(frozen=True)
class Backoff:
    """Delays that grow from the first to the longest, each spread so that not all callers meet."""

    first_s: float
    longest_s: float
    factor: float = 2.0
    #: Share of a delay by which it may be shorter or longer.
    jitter: float = 0.25

    def delay_s(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        growths = min(max(failures - 1, 0), _MOST_GROWTHS)
        return spread(min(self.first_s * self.factor**growths, self.longest_s), self.jitter)


def spread(delay_s: float, jitter: float = 0.25) -> float:
    """Return a delay that is shorter or longer by up to a share of itself."""
    return delay_s * random.uniform(1 - jitter, 1 + jitter)
