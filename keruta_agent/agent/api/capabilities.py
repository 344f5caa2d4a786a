"""What a server lacks, learned once.

On some servers a missing route answers 500, exactly like a broken one. Asking again for every log
line would cost a request each time, and never asking again would miss an upgrade of the server: so
an absence is remembered for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: After this time a feature that was missing is tried again.
REPROBE_AFTER_S = 600.0


class Capabilities:
    """Memory of the features that one server has and lacks; safe for several threads."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        reprobe_after_s: float = REPROBE_AFTER_S,
    ) -> None:
        self._clock = clock
        self._reprobe_after_s = reprobe_after_s
        self._lock = threading.Lock()
        self._missing_until: dict[str, float] = {}
        self._present: set[str] = set()

    def lacks(self, feature: str) -> bool:
        """Return whether the feature was found missing lately."""
        with self._lock:
            return self._clock() < self._missing_until.get(feature, float("-inf"))

    def has(self, feature: str) -> bool:
        """Return whether the feature was seen working."""
        with self._lock:
            return feature in self._present

    def learn_missing(self, feature: str) -> None:
        """Remember for a while that the feature is missing; logs it the first time."""
        with self._lock:
            is_news = feature not in self._missing_until
            self._missing_until[feature] = self._clock() + self._reprobe_after_s
            self._present.discard(feature)
        if is_news:
            logger.info("the server has no %s", feature, extra={"action": "server_lacks"})

    def forget_missing(self) -> None:
        """Forget what was missing, so that each route is tried again."""
        with self._lock:
            self._missing_until.clear()

    def learn_present(self, feature: str) -> None:
        """Remember that the feature works."""
        with self._lock:
            self._missing_until.pop(feature, None)
            self._present.add(feature)
