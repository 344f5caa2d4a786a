"""The watch over agent.db that all event streams of the daemon share.

While anybody listens, one thread asks the database a few times a second, and for microseconds,
whether anything was stored; so streams see what other processes do as well. The same thread reads
for all of them, and once for those that have come equally far.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from keruta_agent.agent.store.changes import Changes
from keruta_agent.http.events import Listener, Listeners, come_back

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: More than a hundred people with a page each; a stream costs a connection and some 20 KiB.
MOST_STREAMS: Final = 256
#: Seconds between looks whether anything changed.
LOOK_S: Final = 0.1
#: Seconds between checks whether listeners are still let in.
_ADMITTED_S: Final = 1.0
#: Seconds before another try when the database is busy or the disk is full.
FAILED_S: Final = 1.0
#: Places whose news are kept for others: in a flood each takes megabytes.
_MOST_KNOWN: Final = 4

_PASSING: Final = (sqlite3.OperationalError, OSError)


class Watch:
    """Who listens, and the thread that reads for them. To be used on one event loop."""

    def __init__(self, changes: Changes) -> None:
        self.listeners: Listeners[Listener] = Listeners(MOST_STREAMS)
        self._changes = changes
        self._thread: ThreadPoolExecutor | None = None
        self._looking: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        #: Until when the thread pauses, by the loop's clock.
        self._paused_until = 0.0
        #: How often the database was seen to have changed.
        self._changed = 0
        #: What was read since it changed last, by the place of the listeners.
        self._known: dict[Hashable, Any] = {}

    @contextlib.contextmanager
    def joined(self, listener: Listener) -> Iterator[None]:
        """Make a listener ``ready`` whenever something was stored, for the length of the block."""
        self.listeners.add(listener)
        if self._looking is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="http-events")
            self._looking = asyncio.create_task(self._look(self._thread))
        try:
            yield
        finally:
            self.listeners.discard(listener)

    async def read(
        self, listener: Listener, place: Hashable | None, function: Callable[[], T]
    ) -> T | None:
        """Read the database for a listener, when it is their turn.

        A flood takes half of a core at most, however many listen: scripts need the rest.

        Args:
            listener: for whom; None is returned when it has ended meanwhile.
            place: how far they have come: what is read for one is good for all at this place. None
                where it is good for this one alone.
            function: reads. None is returned when the database is busy or full, which passes.
        """
        async with self._turn:
            loop = asyncio.get_running_loop()
            if place not in self._known and not listener.has_ended:
                await asyncio.sleep(self._paused_until - loop.time())
            if listener.has_ended:
                return None
            if place in self._known:
                known: T = self._known[place]
                return known
            began, changed = loop.time(), self._changed
            try:
                found = await loop.run_in_executor(self._thread, function)
            except _PASSING as exc:
                logger.warning(
                    "cannot read what changed: %s", exc, extra={"action": "server_events_lost"}
                )
                self._paused_until = loop.time() + FAILED_S
                return None
            now = loop.time()
            self._paused_until = now + min(now - began, LOOK_S)
            if place is not None and changed == self._changed:
                self._keep(place, found)
            return found

    def _keep(self, place: Hashable, found: Any) -> None:
        if len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[place] = found

    async def _look(self, thread: ThreadPoolExecutor) -> None:
        """Look for changes until nobody listens any more."""
        try:
            await self._look_on(thread)
        except Exception:
            logger.exception("cannot look for changes", extra={"action": "server_events_lost"})
            for listener in self.listeners:
                listener.end(come_back())
        finally:
            self._looking = None
            self._known.clear()
            thread.shutdown(wait=False)

    async def _look_on(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        check_due = 0.0
        seen = None
        while self.listeners:
            with contextlib.suppress(*_PASSING):  # who reads reports it
                version = await loop.run_in_executor(thread, self._changes.version)
                if version != seen:
                    seen = version
                    # At once with the call to read anew: else a listener could miss the change.
                    self._changed += 1
                    self._known.clear()
                    for listener in self.listeners:
                        listener.ready.set()
            if loop.time() >= check_due:
                self.listeners.end_refused()
                check_due = loop.time() + _ADMITTED_S
            await asyncio.sleep(LOOK_S)
