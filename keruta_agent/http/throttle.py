"""Failed tries are counted, so that no token is guessed: by who tries, and in bounded memory."""

from __future__ import annotations

import collections
import ipaddress
import math
import time
from typing import Final

from keruta_agent.http.problems import Problem

#: Failed tries within the window after which no other is looked at.
MOST_FAILURES: Final = 10
WINDOW_S: Final = 60.0
#: Keys that are counted at once; one more forgets the one that failed longest ago.
MOST_KEYS: Final = 10_000
#: Whoever has one address of such a network has all of them.
_IPV6_NETWORK: Final = 64


class Throttle:
    """Failed tries of the last minute, by keys such as the peer. For one thread at a time or more:
    each step is atomic, and a count may be off by what comes at once.
    """

    def __init__(self) -> None:
        self._failures: collections.OrderedDict[str, collections.deque[float]] = (
            collections.OrderedDict()
        )

    def check(self, *keys: str) -> None:
        """Admit a try.

        Raises:
            Problem: too many with one of the keys have failed just now (429).
        """
        now = time.monotonic()
        wait_s = max((self._wait_s(key, now) for key in keys), default=0.0)
        if wait_s > 0:
            raise Problem(
                429,
                "TOO_MANY_TRIES",
                "too many wrong tokens; wait a minute",
                headers={"Retry-After": str(math.ceil(wait_s))},
            )

    @property
    def is_idle(self) -> bool:
        """Whether no try has failed yet."""
        return not self._failures

    def is_exhausted(self, key: str) -> bool:
        """Return whether too many tries with this key have failed just now."""
        return self._wait_s(key, time.monotonic()) > 0

    def failed(self, *keys: str) -> None:
        """Count a failed try under each of the keys."""
        for key in keys:
            failures = self._failures.pop(key, None)
            if failures is None:
                failures = collections.deque(maxlen=MOST_FAILURES)
            failures.append(time.monotonic())
            self._failures[key] = failures
        while len(self._failures) > MOST_KEYS:
            self._failures.popitem(last=False)

    def has_failed(self, key: str) -> bool:
        """Return whether a try with this key has failed within the last minute."""
        failures = self._failures.get(key)
        return failures is not None and failures[-1] + WINDOW_S > time.monotonic()

    def _wait_s(self, key: str, now: float) -> float:
        failures = self._failures.get(key)
        if failures is None or len(failures) < MOST_FAILURES:
            return 0.0
        return failures[0] + WINDOW_S - now


def network_of(peer: str) -> str:
    """Return what a peer is counted by: its address, or the network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, _IPV6_NETWORK), strict=False))
    return str(address)
