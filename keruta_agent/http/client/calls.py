"""Counters of the requests to one service by result, for the agent's own metrics."""

from __future__ import annotations

import collections
import threading

from keruta_agent.core.model import ApiCalls


class CallCounter:
    """A counter of requests by result. Safe to share between threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._results: collections.Counter[str] = collections.Counter()
        self._retries = 0

    def answered(self, status_code: int) -> None:
        """Count a request that was answered."""
        self._count(f"{status_code // 100}xx")

    def unanswered(self, what: str) -> None:
        """Count a request without an answer."""
        self._count(what)

    def retried(self) -> None:
        """Count a read that is tried once more."""
        with self._guard:
            self._retries += 1

    def counts(self) -> ApiCalls:
        """Return what was counted since the start of this process."""
        with self._guard:
            return ApiCalls(results=dict(self._results), retries=self._retries)

    def _count(self, result: str) -> None:
        with self._guard:
            self._results[result] += 1
