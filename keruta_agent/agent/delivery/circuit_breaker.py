"""A circuit breaker: no calls to an API that fails, until it is time to try again.

Words and files each have a breaker: a proxy that cuts off every large upload must not block the
rest, and what else gets through must not restart the upload twice a second.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff

logger = logging.getLogger(__name__)

#: How long the API is left alone after it was away.
BACKOFF: Final = Backoff(first_s=0.5, longest_s=30.0)
#: Seconds that a server may ask for at most: its mistake must not stop delivery for days.
MAX_RETRY_AFTER_S: Final = 3600.0


class CircuitBreaker:
    """The circuit breaker of one lane of the outbox."""

    def __init__(self, what: str) -> None:
        """Take what the lane carries, in words for people."""
        self._what = what
        self._open_since: float | None = None
        self._failures = 0
        self._not_before = 0.0
        #: Whether the API refuses the agent's token.
        self.is_unauthorized = False
        #: Why the last attempt failed, None when it did not.
        self.problem: errors.ApiError | None = None

    @property
    def wait_s(self) -> float:
        """Seconds before the next attempt; 0 when it may be made now."""
        return max(0.0, self._not_before - time.monotonic())

    @property
    def is_open(self) -> bool:
        """Whether the last attempt failed."""
        return self._open_since is not None

    def failed(self, exc: errors.ApiError) -> None:
        """Count an attempt that failed for another reason than its content."""
        self._failures += 1
        self.problem = exc
        self.is_unauthorized = isinstance(exc, errors.ApiUnauthorized)
        asked = min(exc.retry_after_s or 0.0, MAX_RETRY_AFTER_S)
        wait = max(BACKOFF.delay_s(self._failures), asked)
        self._not_before = time.monotonic() + wait
        if self._open_since is None:
            self._open_since = time.monotonic()
            logger.log(
                logging.ERROR if self.is_unauthorized else logging.WARNING,
                "the API does not take %s now; everything is kept and sent later: %s",
                self._what,
                exc,
                extra={"action": "api_away"},
            )

    def retry_now(self) -> None:
        """End a wait that the server has not asked for: it answers again."""
        if self.problem is not None and self.problem.retry_after_s is None:
            self._not_before = 0.0

    def ok(self) -> None:
        """Close the circuit: an attempt got through."""
        self._failures = 0
        self.problem = None
        self.is_unauthorized = False
        self._not_before = 0.0
        if self._open_since is not None:
            logger.info(
                "the API takes %s again after %.0f seconds",
                self._what,
                time.monotonic() - self._open_since,
                extra={"action": "api_back"},
            )
            self._open_since = None
