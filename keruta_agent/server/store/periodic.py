"""A thread that does what comes due from time to time, in steps between which others go on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import peewee

logger = logging.getLogger(__name__)

#: Seconds between two rounds.
INTERVAL_S: Final = 600.0
#: Times of a step's length for which the next one waits, and seconds that it waits at least.
_REST: Final = 2.0
_SHORTEST_REST_S: Final = 0.005


class Periodic:
    """A thread that goes through the steps of its work again and again."""

    def __init__(
        self, name: str, steps: Callable[[], Iterator[object]], interval_s: float = INTERVAL_S
    ) -> None:
        """Prepare the thread; each step is one short transaction."""
        self._steps = steps
        self._interval_s = interval_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Work now and from time to time."""
        self._thread.start()

    def close(self) -> None:
        """Finish the step at hand, and end."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._work()
            except (peewee.PeeweeException, OSError):
                logger.exception(
                    "what is old could not be removed; it is tried again",
                    extra={"action": "server_storage_failed"},
                )
            self._closing.wait(self._interval_s)

    def _work(self) -> None:
        began = time.monotonic()
        for _ in self._steps():
            if self._closing.wait(rest_s(time.monotonic() - began)):
                return
            began = time.monotonic()


def rest_s(took_s: float) -> float:
    """Return for how many seconds others have their turn after a step that took so long."""
    return max(_SHORTEST_REST_S, _REST * took_s)
