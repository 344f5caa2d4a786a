"""Server-sent events that are numbered: one reader feeds every stream of a process from memory.

An event costs one query, however many listen. A client that reads too slowly is cut off and comes
back with ``Last-Event-ID``; nobody waits for it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol, TypeVar

from starlette.types import Receive, Scope, Send

from keruta_agent.http.events import (
    HEARTBEAT,
    HEARTBEAT_S,
    Listener,
    Listeners,
    Put,
    Stream,
    come_back,
    sending,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between checks whether listeners are still let in.
TICK_S: Final = 1.0
#: Seconds over which the events of a burst are gathered for one query.
_GATHER_S: Final = 0.005
#: Seconds before another look after storage has failed.
_FAILED_S: Final = 1.0
#: Events in one query.
BATCH: Final = 500
#: Frames that wait for one client; one that is further behind is cut off.
_MOST_WAITING: Final = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """One event as it is sent."""

    number: int
    #: Who listens to it, such as a session's id.
    topic: str
    frame: bytes
    #: Of an event that a topic begins with: those who listen to one of them get it from now on.
    groups: Collection[str] = ()


class Source(Protocol):
    """Where the events are stored. Its functions are called in threads."""

    def newest(self) -> int:
        """Return the number of the newest event, 0 when there was none yet."""

    def after(self, number: int, topics: Collection[str], limit: int) -> Sequence[Event]:
        """Return the events after a number, of some topics or of all, oldest first."""


class Fanout:
    """The streams of one process."""

    def __init__(self, source: Source, *, look_s: float, most_streams: int) -> None:
        """Take the events.

        Args:
            source: holds them.
            look_s: seconds between looks for events of other processes, which wake nobody here.
            most_streams: above which further ones are refused.
        """
        self._source = source
        self._look_s = look_s
        self._listeners: Listeners[_Listener] = Listeners(most_streams)
        #: None holds those who listen to everything.
        self._by_topic: dict[str | None, set[_Listener]] = collections.defaultdict(set)
        self._by_group: dict[str, set[_Listener]] = collections.defaultdict(set)
        self._reading = _Outage("what changed")
        self._refreshing = _Outage("who may listen")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._is_waking = threading.Event()
        self._tasks: list[asyncio.Task[None]] = []
        #: Of its own: views that wait for the database must not hold up what is known already.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="http-events")
        self._joining = asyncio.Lock()
        #: Number of the last event that was passed on; it counts while anybody listens.
        self._last = 0
        #: Reads anew who is let in, before each check; in a thread.
        self.refresh: Callable[[], None] | None = None

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._listeners)

    def wake(self) -> None:
        """Have the reader look for events now; from any thread, after their transaction."""
        loop = self._loop
        if loop is None or not self._listeners or self._is_waking.is_set():
            return
        self._is_waking.set()
        with contextlib.suppress(RuntimeError):  # the loop has just ended
            loop.call_soon_threadsafe(self._woken.set)

    def stop(self) -> None:
        """End all streams, with a hint to come back; on the loop."""
        self._listeners.stop()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def open(
        self,
        topics: Collection[str],
        after: int,
        *,
        greeting: bytes,
        may_listen: Callable[[], bool] | None = None,
        groups: Collection[str] = (),
        find_topics: Callable[[], Collection[str]] | None = None,
    ) -> Stream:
        """Return the stream of a new listener, which begins after an event.

        Args:
            topics: which events; none for all.
            after: number of the last event that the client has.
            greeting: the first frame.
            may_listen: asked once a second whether the client is still let in.
            groups: whose topics the stream is about, too, as soon as they begin.
            find_topics: finds those that have begun; called in a thread.

        Raises:
            Problem: there are too many streams (503).
        """
        self._listeners.check_room()

        async def stream(scope: Scope, receive: Receive, send: Send) -> None:
            listener = _Listener(topics, after, may_listen, groups)
            try:
                await self._join(listener)
                async with sending(listener, receive, send) as put:
                    await put(greeting)
                    await self._catch_up(listener, put, scope["app"].run, find_topics)
                    while frames := await listener.frames():
                        await put(frames)
            finally:
                self._remove(listener)

        return stream

    async def _catch_up(
        self,
        listener: _Listener,
        put: Put,
        run: Callable[..., Awaitable[Any]],
        find_topics: Callable[[], Collection[str]] | None,
    ) -> None:
        """Send what was stored before the stream began; live events wait meanwhile."""
        while not listener.has_ended:
            try:
                if find_topics is not None:
                    # After it has joined: what begins from now on is heard of by its groups.
                    self._subscribe(listener, await run(find_topics))
                    find_topics = None
                events = await run(self._source.after, listener.last, listener.topics, BATCH)
            except Exception:
                self._reading.note_failure()
                listener.cut_off()
                return
            if events:
                listener.last = events[-1].number
                await put(b"".join(event.frame for event in events))
            if len(events) < BATCH:
                return

    async def _join(self, listener: _Listener) -> None:
        async with self._joining:
            loop = asyncio.get_running_loop()
            if not self._listeners:
                # Read before the listener catches up: else what is stored between its last query
                # and this one would reach it by neither way.
                self._last = await loop.run_in_executor(self._thread, self._source.newest)
            self._listeners.add(listener)
            self._subscribe(listener, listener.topics or (None,))
            for group in listener.groups:
                self._by_group[group].add(listener)
            if not self._tasks:
                self._loop = loop
                self._tasks = [loop.create_task(self._read()), loop.create_task(self._tick())]

    def _subscribe(self, listener: _Listener, topics: Iterable[str | None]) -> None:
        if listener not in self._listeners:  # its client has left
            return
        for topic in topics:
            self._by_topic[topic].add(listener)
            if topic is not None:
                listener.topics.add(topic)

    def _remove(self, listener: _Listener) -> None:
        self._listeners.discard(listener)
        _discard(self._by_topic, listener.topics or (None,), listener)
        _discard(self._by_group, listener.groups, listener)

    async def _read(self) -> None:
        """Pass on what is stored, for as long as the process runs."""
        while True:
            try:
                await self._pass_on()
            except Exception:
                # The streams stay: what they miss now they get when storage is well again.
                self._reading.note_failure()
                await asyncio.sleep(_FAILED_S)
                continue
            self._reading.note_success()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._woken.wait()
            await asyncio.sleep(_GATHER_S)

    async def _pass_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._listeners:
            # Before the query: what is stored during it wakes the reader again.
            self._woken.clear()
            self._is_waking.clear()
            events = await loop.run_in_executor(
                self._thread, self._source.after, self._last, (), BATCH
            )
            for event in events:
                self._last = event.number
                self._deliver(event)
            if len(events) < BATCH:
                return
        self._woken.clear()
        self._is_waking.clear()

    def _deliver(self, event: Event) -> None:
        for group in event.groups:
            for listener in self._by_group.get(group, ()):
                self._subscribe(listener, (event.topic,))
        for topic in (event.topic, None):
            for listener in self._by_topic.get(topic, ()):
                listener.put(event)

    async def _tick(self) -> None:
        """Send heartbeats, and end the streams of clients that are let in no more."""
        elapsed = 0.0
        while True:
            await asyncio.sleep(TICK_S)
            elapsed += TICK_S
            is_due = elapsed >= HEARTBEAT_S
            elapsed = 0.0 if is_due else elapsed
            await self._refresh()
            self._listeners.end_refused()
            if is_due:
                for listener in self._listeners:
                    listener.put_frame(HEARTBEAT)

    async def _refresh(self) -> None:
        if self.refresh is None or not self._listeners:
            return
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._thread, self._refreshed, self.refresh)
        # A database that hangs holds up no heartbeat.
        await asyncio.wait([reading], timeout=TICK_S)

    def _refreshed(self, refresh: Callable[[], None]) -> None:
        try:
            refresh()
        except Exception:
            # Whoever listens goes on: storage that is away ends no stream.
            self._refreshing.note_failure()
        else:
            self._refreshing.note_success()


class _Listener(Listener):
    """One client, and what waits for it."""

    def __init__(
        self,
        topics: Collection[str],
        last: int,
        may_listen: Callable[[], bool] | None,
        groups: Collection[str],
    ) -> None:
        super().__init__(may_listen)
        self.topics = set(topics)
        self.groups = frozenset(groups)
        #: Number of the last event that was sent.
        self.last = last
        self._waiting: collections.deque[tuple[int, bytes]] = collections.deque()

    def put(self, event: Event) -> None:
        self._put(event.number, event.frame)

    def put_frame(self, frame: bytes) -> None:
        if not self._waiting:  # a heartbeat beside other frames says nothing
            self._put(0, frame)

    def _put(self, number: int, frame: bytes) -> None:
        if self.has_ended:
            return
        if len(self._waiting) >= _MOST_WAITING:
            self.cut_off()
            return
        self._waiting.append((number, frame))
        self.ready.set()

    def cut_off(self) -> None:
        """Have the client come back, and get from storage what it has missed."""
        self._waiting.clear()
        self.end(come_back())

    async def frames(self) -> bytes:
        """Return what is to be sent next; nothing at the end."""
        while True:
            frames = []
            while self._waiting:
                number, frame = self._waiting.popleft()
                # What was replayed is not sent again.
                if number == 0 or number > self.last:
                    frames.append(frame)
                    self.last = max(self.last, number)
            if frames or self.has_ended:
                return b"".join(frames)
            self.ready.clear()
            await self.ready.wait()


class _Outage:
    """What cannot be read for a while: logged when that begins, and when it ends."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lasts = False

    def note_failure(self) -> None:
        """Note the exception that is being handled."""
        if not self._lasts:
            self._lasts = True
            logger.warning(
                "cannot read %s; trying again each second",
                self._what,
                exc_info=True,
                extra={"action": "server_events_lost"},
            )

    def note_success(self) -> None:
        """Note that it could be read."""
        if self._lasts:
            self._lasts = False
            logger.info("can read %s again", self._what, extra={"action": "server_events_lost"})


def _discard(places: dict[T, set[_Listener]], keys: Iterable[T], listener: _Listener) -> None:
    """Take a listener from its places, and forget those that are empty then."""
    for key in keys:
        found = places.get(key, set())
        found.discard(listener)
        if not found:
            places.pop(key, None)
